"""The fake CUDA and NVML: late streams, memory, and every rule that is checked."""

import ctypes
import re
import signal

import pytest

from tests import fakes
from tests.c import runner
from tests.fakes import scenes_cuda as scenes
from tests.fakes.scene import play, play_each


@pytest.mark.parametrize("wait", [True, False])
def test_a_missing_wait_gives_stale_data(wait):
    asked, found = play(scenes.copies, wait)[0]
    assert asked == scenes.NOT_READY
    assert found == [7 if wait else scenes.NEW]


def test_work_runs_after_the_call_that_queued_it():
    found = play(scenes.runs_late, delay_us=600_000_000)[0]
    assert found == [scenes.NEW, 1, 7]


def test_streams_are_out_of_step_by_the_seed():
    early = [play(scenes.races, seed=seed)[0] for seed in (1, 2, 3)]
    assert sum(early) > 0


def test_a_wait_is_for_the_latest_record():
    assert play(scenes.waits_for_the_latest_record)[0] == [0, scenes.NOT_READY, 0]


def test_work_on_shared_memory_is_ordered():
    assert play(scenes.orders)[0] == [0, 1]


def test_default_stream_is_in_step():
    assert play(scenes.default_stream_is_in_step)[0] == 7


def test_broken_rules_are_reported():
    for name, found in play_each(scenes.breaks_rule, sorted(scenes.RULES)).items():
        assert found, name
        _, count, text = found
        assert (count, text != "") == (1, True), (name, found)


def test_a_broken_rule_ends_the_process():
    play_of = {"violations": "abort", "check": False}
    ended = play(scenes.breaks_rule, "freed twice", **play_of)[0]
    assert ended.status == -signal.SIGABRT
    assert "cudaFree: 0x" in ended.stderr


def test_a_forked_child_is_refused():
    assert play(scenes.uses_fork)[0] == 3


def test_faults():
    assert play(scenes.fails, "", fail="cudaMalloc:2:2")[0] == [[0, 2, 0], 2, 0]
    assert play(scenes.fails, "", fail="cudaMalloc:2+:46")[0] == [[0, 46, 46], 46, 0]
    assert play(scenes.fails, "", fail="1@cudaMalloc:1+:46")[0] == [[0, 0, 0], 0, 0]
    assert play(scenes.fails, "cudaMalloc:1:2")[0] == [[0, 0, 0, 2, 0, 0], 2, 0]


def test_faults_that_last():
    assert play(scenes.fails, "", fail="cudaMalloc:2:719!")[0] == [
        [0, 719, 719],
        719,
        719,
    ]
    ended = play(scenes.fails, "", fail="cudaMalloc:2:kill", check=False)[0]
    assert ended.status == -signal.SIGKILL
    assert play(scenes.fails_late, fail="run.copy:1:700")[0] == [
        [0, 700, 700],
        scenes.NEW,
    ]


def test_faults_that_cannot_be_read():
    for fault in ("cudaMalloc", "cudaMalloc:2", "cudaMalloc:x:2", "cudaMalloc:1:2x"):
        ended = play(scenes.fails, "", fail=fault, check=False)[0]
        assert ended.status == -signal.SIGABRT
        assert f"FAKES_FAIL={fault} cannot be read" in ended.stderr


def test_settings_of_one_rank():
    counts = [
        len(seen) for _, seen in play(scenes.devices, size=3, devices="2;1@3;2@0")
    ]
    assert counts == [2, 3, 0]


def test_memory_is_limited_and_reused():
    first, second = play(scenes.is_full, memory=4 << 20)[0]
    assert first == second == 3


def test_devices_that_are_gone():
    codes, found = play(scenes.is_lost)[0]
    assert codes == [719] * 5
    assert found == scenes.NEW


def test_capture():
    states, pieces, found = play(scenes.captures)[0]
    assert states == [0, 1, 1, 0, 0]
    assert pieces == 2
    assert found == [0, 8, 9]


def test_capture_with_work_that_is_not_joined():
    assert play(scenes.leaves_work_unjoined)[0] == [904, None]


def test_devices():
    code, seen = play(scenes.devices)[0]
    assert code == 0
    assert [bus for bus, _ in seen] == [f"0000:{i:02X}:00.0" for i in range(23, 27)]
    assert len({uuid for _, uuid in seen}) == 4
    elsewhere = play(scenes.devices, host="other")[0][1]
    assert {uuid for _, uuid in seen}.isdisjoint(uuid for _, uuid in elsewhere)


def test_visible_devices():
    everything = play(scenes.devices)[0][1]

    def seen(**settings):
        return [uuid for _, uuid in play(scenes.devices, **settings)[0][1]]

    uuids = [uuid for _, uuid in everything]
    mask = {"CUDA_VISIBLE_DEVICES": "2,0,9,1"}
    assert seen(variables=mask) == [uuids[2], uuids[0]]
    assert seen(visible="3;1") == [uuids[3]]
    assert play(scenes.devices, devices=0)[0] == [100, []]


def test_instances_of_one_gpu():
    code, seen = play(scenes.devices, mig=True)[0]
    assert (code, len(seen)) == (0, 1)
    found, _ = play(scenes.gpus, mig=True)[0]
    assert [(uuid[:4], mode) for _, uuid, _, mode in found] == [("GPU-", 1)]


def test_gpus():
    found, driver = play(scenes.gpus, devices=2, memory=1 << 20)[0]
    assert [(name, memory, mode) for name, _, memory, mode in found] == [
        ("Fake GPU", 1 << 20, 0)
    ] * 2
    assert len({uuid for _, uuid, _, _ in found}) == 2
    assert driver == "580.65.06"


def test_tensors_are_given_on_in_order_of_their_stream():
    found, violations = play(scenes.tensors)[0]
    assert found == [0, -1, -1, True, True]
    assert violations == 0


def test_tensors_of_recorded_streams():
    assert play(scenes.records_streams)[0] == [True, True, 0]


def test_what_is_alive(tmp_path):
    ended = play(scenes.leaves_things, check=False, record=tmp_path, report=True)[0]
    count, text = ended.value
    assert count == 6
    assert sorted(line.split(":")[0] for line in text.splitlines()) == [
        "device memory",
        "event",
        "group that was started and not ended",
        "pinned memory",
        "stream",
        "unique id that no group has been made with",
    ]
    assert len(fakes.recorded(tmp_path, "alive")) == 6
    assert ended.stderr.count("ends with") == 6


def test_the_record(tmp_path):
    play(scenes.copies, True, record=tmp_path)
    calls = fakes.recorded(tmp_path)
    names = [call.name for call in calls]
    assert names.index("cudaMemcpyAsync") < names.index("run.copy")
    copy = next(call for call in calls if call.name == "cudaMemcpyAsync")
    assert (copy.arguments["nbytes"], copy.result) == ("64", 0)
    asked = fakes.recorded(tmp_path, "cudaEventQuery")
    assert [call.result for call in asked] == [scenes.NOT_READY]


def test_every_function_of_the_tables_is_there():
    """Also those that a newer table asks for: then somebody writes them here."""
    maps = {"cudart": ("cuda", "PA_CUDA_MAP"), "nccl": ("nccl", "PA_NCCL_MAP")}
    lacking = []
    for name, (prefix, table) in maps.items():
        library = ctypes.CDLL(str(fakes.build()[name]))
        text = (runner.ROOT / "csrc" / "gpu" / f"{prefix}.h").read_text()
        block = re.search(rf"#define {table}\(X\)((?:.*\\\n)*.*\n)", text)[1]
        functions = re.findall(r"\bX\((\w+),", block)
        assert len(functions) > 10
        lacking += [f for f in functions if not hasattr(library, prefix + f)]
    assert lacking == []


def test_functions_can_be_missing():
    library = ctypes.CDLL(
        str(fakes.build(without=["cudaFree", "cudaMalloc"])["cudart"])
    )
    assert not hasattr(library, "cudaFree")
    assert not hasattr(library, "cudaMalloc")
    assert hasattr(library, "cudaFreeHost")
