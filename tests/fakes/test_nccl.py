"""The fake NCCL: what collectives do, how they end, and every rule that is checked."""

import math
import signal

import pytest

from tests.fakes import scenes_nccl as scenes
from tests.fakes.scene import play, play_each

every_size = pytest.mark.parametrize("size", [1, 2, 3, 4])


@every_size
def test_gather_and_broadcast(size):
    parts = [bytes([rank + 1] * 5).hex() for rank in range(size)]
    wanted = ["".join(parts), "".join(parts), *parts]
    assert play(scenes.gathers, size=size) == [wanted] * size


def test_reduce():
    size = 3
    functions = {
        "sum": sum,
        "product": math.prod,
        "max": max,
        "min": min,
        "average": lambda values: sum(values) / size,
    }
    wanted = {}
    for dtype in scenes.TYPES:
        second = 2 if dtype.startswith("u") else -2
        columns = [[n * (rank + 1) for rank in range(size)] for n in (1, second, 3)]
        for operation, function in functions.items():
            wanted[f"{dtype} {operation}"] = [function(values) for values in columns]
    wanted["int8 product"][2] = 162 - 256  # it wraps
    assert play(scenes.reduces, size=size) == [wanted] * size


@every_size
def test_messages_of_a_group(size):
    for rank, (found, codes) in enumerate(play(scenes.exchanges, size=size)):
        assert found == [bytes([16 * peer + rank]).hex() for peer in range(size)]
        assert codes == [scenes.IN_PROGRESS]


@pytest.mark.parametrize("polls", [0, 1, 5])
def test_operations_are_in_progress_until_polled(polls):
    found = play(scenes.is_in_progress, polls, size=2, nccl_polls=polls)
    code = scenes.IN_PROGRESS if polls else 0
    queued = [0 if polls else 1, 1]
    assert found == [[True, code, polls, queued, True]] * 2


def test_several_streams():
    assert play(scenes.uses_several_streams, size=2) == [["0102", "0102"]] * 2


def test_capture():
    assert play(scenes.captured, size=2) == [["0000", "0102", "0506"]] * 2


def test_a_dead_rank_leaves_the_others_spinning():
    ended = play(scenes.loses_a_rank, size=3, check=False)
    assert ended[2].status == -signal.SIGKILL
    for each in ended[:2]:
        assert (each.status, each.stderr) == (0, "")
        assert each.value == [600, 0, 0, "00"]


def test_a_process_may_end_with_spinning_work():
    assert play(scenes.ends_with_spinning_work, size=2) == [None, None]


def test_two_ranks_on_one_gpu():
    duplicate = "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 0"
    for size, devices in ((2, 1), (3, 2)):
        found = play(scenes.joins, size=size, devices=devices)
        same = [rank % devices == 0 for rank in range(size)]
        assert [state for state, _, _ in found] == [5 if each else 6 for each in same]
        assert size == 3 or all(text == duplicate for _, text, _ in found)
        assert all(alive == [0, ""] for _, _, alive in found)
    allowed = {"variables": {"NCCL_MULTI_RANK_GPU_ENABLE": "1"}, "devices": 1}
    assert play(scenes.joins, size=2, nccl_version=22907, **allowed)[0][0] == 5
    assert play(scenes.joins, size=2, nccl_version=23007, **allowed)[0][0] == 0
    assert play(scenes.joins, size=2, nccl_version=23007, devices=1)[0][0] == 5


def test_different_versions():
    for state, text, _ in play(scenes.joins, size=2, nccl_version="22809;1@22907"):
        assert state == 5
        assert "rank 1 version 22907 rank 0 version 22809" in text


def test_an_old_version():
    assert play(scenes.old_version, nccl_version=21210) == [21210]


def test_a_unique_id_of_a_process_that_ended():
    ended = play(scenes.has_no_root, size=2, check=False)
    assert ended[1].value == [2, 0]


def test_a_rank_that_never_joins():
    found = play(scenes.waits_for_nobody, size=2)
    assert found[0][:-1] == [scenes.IN_PROGRESS] * 10


def test_faults():
    fault = {"fail": "1@ncclAllGather:2:3"}
    assert play(scenes.has_a_fault, size=1, **fault)[0] == [0, 0, 0]
    assert play(scenes.has_a_fault, size=1, fail="ncclAllGather:2:3")[0] == [0, 3, 0]
    asynchronous = play(scenes.has_a_fault, "ncclAsyncError:3:6", nccl_polls=1)
    assert asynchronous[0] == [0, 6, 6]


@pytest.mark.parametrize("name", sorted(scenes.DIFFERENT))
def test_ranks_that_differ_are_reported(name):
    found = play(scenes.differs, name, size=2)
    texts = [text for (count, text), _ in found if count]
    assert texts
    assert all("rank 0" in text and "rank 1" in text for text in texts)
    assert all(state in (5, 6) for _, state in found)


def test_broken_rules_are_reported():
    for name, found in play_each(scenes.breaks_rule, sorted(scenes.RULES)).items():
        assert found, name
        code, count, text = found
        assert (count, code != 0, text != "") == (1, True, True), (name, found)
