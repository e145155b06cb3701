"""Settings of a launch: the command line over the configuration file over guesses."""

import json
from pathlib import Path

import pytest

from pyaccel.commands._launch import config_file, devices
from pyaccel.commands._launch.command_line import parse
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.settings import resolve


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    """No default configuration file, and a machine without GPUs."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def write(tmp_path):
    """Writes a configuration file: text as YAML, a dict as JSON; returns its path."""

    def write(content):
        is_text = isinstance(content, str)
        path = tmp_path / ("config.yaml" if is_text else "config.json")
        path.write_text(content if is_text else json.dumps(content), encoding="utf-8")
        return str(path)

    return write


def settle(*words):
    return resolve(parse([*words, "script.py"]))


FULL = """
compute_environment: LOCAL_MACHINE
debug: true
distributed_type: MULTI_GPU
downcast_bf16: 'no'
dynamo_config:
  dynamo_backend: INDUCTOR
  dynamo_mode: max-autotune
  dynamo_use_dynamic: true
enable_cpu_affinity: true
gpu_ids: 0,2,3
machine_rank: 0
main_process_ip: null
main_process_port: 0
main_training_function: main
mixed_precision: bf16
num_machines: 1
num_processes: 3
rdzv_backend: c10d
same_network: true
tpu_env: []
use_cpu: false
"""


def test_every_key_of_a_file_counts(write):
    settings = settle("--config_file", write(FULL))
    assert settings.num_processes == 3
    assert settings.debug
    assert settings.enable_cpu_affinity
    assert settings.gpu_ids == "0,2,3"
    assert settings.main_process_port == 0
    assert settings.mixed_precision == "bf16"
    assert settings.multi_gpu
    assert settings.rdzv_backend == "c10d"
    assert settings.same_network
    assert not settings.use_cpu
    assert settings.dynamo_backend == "inductor"
    assert settings.dynamo_mode == "max-autotune"
    assert settings.dynamo_use_dynamic
    assert not settings.dynamo_use_fullgraph
    assert settings.notes == []


def test_the_command_line_wins(write):
    settings = settle(
        f"--config_file={write(FULL)}",
        *("--num_processes", "2", "--gpu_ids", "all", "--mixed_precision", "fp16"),
        *("--dynamo_mode", "default", "--rdzv_backend", "static"),
    )
    assert settings.num_processes == 2
    assert settings.gpu_ids == "all"
    assert settings.mixed_precision == "fp16"
    assert settings.dynamo_mode == "default"
    assert settings.rdzv_backend == "static"


def test_the_number_after_the_script_wins_over_the_file(write):
    words = ["--config_file", write(FULL), "script.py", "--num_processes=5"]
    settings = resolve(parse(words))
    assert settings.num_processes == 5
    assert len(settings.notes) == 1
    assert "--num_processes=5 stands after the script" in settings.notes[0]


def test_cpu_on_the_command_line_wins(write):
    settings = settle("--cpu", "--config_file", write(FULL))
    assert settings.use_cpu
    assert not settings.multi_gpu


def test_multi_gpu_on_the_command_line_wins(write):
    path = write("{distributed_type: MULTI_CPU, num_processes: 2, use_cpu: true}")
    settings = settle("--multi_gpu", "--config_file", path)
    assert settings.multi_gpu
    assert not settings.use_cpu


@pytest.mark.parametrize("kind", ["MULTI_CPU", "NO"])
def test_several_cpu_processes_from_json(write, kind):
    path = write({"distributed_type": kind, "num_processes": 4, "use_cpu": True})
    settings = settle("--config_file", path)
    assert settings.num_processes == 4
    assert settings.use_cpu
    assert settings.mixed_precision == "no"


def test_yaml_reads_an_unquoted_no_as_false(write):
    path = write("distributed_type: NO\nmixed_precision: no\n")
    settings = settle("--config_file", path)
    assert settings.num_processes == 1
    assert settings.mixed_precision == "no"


def test_keys_of_long_ago(write):
    path = write("distributed_type: 'NO'\nfp16: true\ndynamo_backend: EAGER\n")
    settings = settle("--config_file", path)
    assert settings.mixed_precision == "fp16"
    assert settings.dynamo_backend == "eager"


@pytest.mark.parametrize(("ids", "expected"), [("2", "2"), ("[0, 2]", "0,2")])
def test_gpu_ids_need_not_be_text(write, ids, expected):
    path = write(f"distributed_type: 'NO'\ngpu_ids: {ids}\n")
    assert settle("--config_file", path).gpu_ids == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"distributed_type": "NO", "foo": 1, "bar": 2}, "unknown keys (bar, foo)"),
        ({"num_processes": 2}, "no distributed_type"),
        ({"distributed_type": "MULTI_GPU"}, "leaves the number of processes open"),
        ({"distributed_type": "SOME"}, "must be one of NO, MULTI_CPU, MULTI_GPU"),
        ({"distributed_type": "FSDP", "num_processes": 2}, "'FSDP', which is for trai"),
        ({"distributed_type": "XLA", "num_processes": 2}, "'XLA', which is for train"),
        (
            {"distributed_type": "NO", "compute_environment": "AMAZON_SAGEMAKER"},
            "compute_environment",
        ),
        ({"distributed_type": "NO", "num_processes": "two"}, "num_processes in "),
        ({"distributed_type": "NO", "num_processes": True}, "num_processes in "),
        ({"distributed_type": "NO", "num_processes": 0}, "must be 1 or more, not 0"),
        ({"distributed_type": "NO", "use_cpu": "maybe"}, "use_cpu in "),
        ({"distributed_type": "NO", "num_machines": 2}, "num_machines is 2"),
        ({"distributed_type": "NO", "machine_rank": 1}, "machine_rank is 1"),
        ({"distributed_type": "NO", "main_process_ip": "192.0.2.1"}, "main_process_ip"),
        (
            {"distributed_type": "NO", "mpirun_config": {"mpirun_hostfile": "h"}},
            "mpirun_hostfile",
        ),
        ({"distributed_type": "NO", "dynamo_config": "EAGER"}, "dynamo_config in "),
        ("distributed_type: [", "cannot be read: while parsing"),
        ("just text", "must hold keys with values, but holds str"),
        ("", "must hold keys with values, but holds NoneType"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(write, content, message):
    path = write(content)
    with pytest.raises(LaunchError) as raised:
        settle("--config_file", path)
    assert message in str(raised.value)


def test_a_wrong_value_in_a_file_names_the_file(write):
    path = write({"distributed_type": "NO", "main_process_port": "http"})
    with pytest.raises(LaunchError, match="main_process_port in .*config.json"):
        settle("--config_file", path)


def test_broken_json_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(LaunchError, match=r"broken.json.*cannot be read: Expecting"):
        settle("--config_file", str(path))


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="'nowhere.yaml' does not exist"):
        settle("--config_file", "nowhere.yaml")


def write_default(text):
    path = Path(config_file.default_path())
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_the_default_file_is_read_when_it_is_there():
    write_default("distributed_type: MULTI_CPU\nnum_processes: 3\n")
    settings = settle()
    assert settings.num_processes == 3
    assert settings.use_cpu
    assert settings.notes == []


def test_the_default_file_does_not_count_with_cpu():
    write_default("distributed_type: MULTI_GPU\nnum_processes: 3\n")
    assert settle("--cpu").num_processes == 1


def test_where_the_default_file_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", "/h")
    assert config_file.default_path() == "/h/accelerate/default_config.yaml"
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    folder = tmp_path / "accelerate"
    folder.mkdir()
    (folder / "default_config.json").touch()
    assert config_file.default_path() == str(folder / "default_config.json")
    (folder / "default_config.yaml").touch()
    assert config_file.default_path() == str(folder / "default_config.yaml")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    expected = "/x/huggingface/accelerate/default_config.yaml"
    assert config_file.default_path() == expected
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    expected = "/home/me/.cache/huggingface/accelerate/default_config.yaml"
    assert config_file.default_path() == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cpu", "--multi_gpu"], "--cpu and --multi_gpu contradict"),
        (["-m", "--no_python"], "--module and --no_python contradict"),
        (["--multi_gpu", "--num_processes=1"], "--num_processes 2 or more"),
        (["--num_processes=0"], "--num_processes must be 1 or more, not 0"),
        (["--num_processes=-1"], "--num_processes must be 1 or more, not -1"),
        (["--num_cpu_threads_per_process=0"], "must be 1 or more, not 0"),
        (["--grace=-1"], "--grace must be 0 or more seconds"),
        (["--grace=nan"], "--grace must be 0 or more seconds"),
        (["--num_machines=2"], "num_machines is 2"),
        (["--machine_rank=1"], "only 0 can be given"),
        (["--main_process_ip=192.0.2.1"], "no address of this machine"),
        (["--main_process_ip=no such name"], "no address of this machine"),
        (["--max_restarts=3"], "max_restarts is 3"),
        (["--rdzv_backend=etcd"], "only static or c10d can be given"),
        (["--mpirun_hostfile=hosts"], "leave it out"),
        (["--multi_gpu", "--gpu_ids=0", "--num_processes=2"], "fewer than two GPUs"),
    ],
)
def test_wrong_options_are_named(words, message):
    with pytest.raises(LaunchError) as raised:
        settle(*words)
    assert message in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_options_that_agree_with_one_machine(host):
    """As job scripts write them that may also start on several machines."""
    settings = settle(
        *("--num_machines=1", "--machine_rank=0", f"--main_process_ip={host}"),
        *("--max_restarts=0", "--monitor_interval=5", "--rdzv_backend=static"),
    )
    assert settings.num_processes == 1


def test_what_was_guessed_is_said(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    settings = settle()
    assert settings.num_processes == 2
    assert len(settings.notes) == 1
    assert "num_processes=2 (CUDA devices: 2)" in settings.notes[0]
    others = ("num_machines=1", "mixed_precision=no", "dynamo_backend=no")
    assert all(other in settings.notes[0] for other in others)
    [note] = settle("--num_machines=1", "--dynamo_backend=eager").notes
    assert "mixed_precision=no" in note
    assert "num_machines" not in note
    assert "dynamo_backend" not in note


def test_nothing_is_guessed_when_the_number_is_given():
    assert settle("--num_processes=2").notes == []


def test_gpu_ids_say_how_many():
    assert settle("--gpu_ids=0,5,7").num_processes == 3


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        *(("", 0), ("0", 1), ("2, 0", 2), ("0,-1,2", 1), ("-1", 0)),
        *(("GPU-1a,GPU-2b", 2), ("MIG-1a", 1), ("MIG-1a,MIG-2b", 1)),
    ],
)
def test_counting_visible_devices(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.cuda_device_count() == count


def test_counting_the_devices_of_the_driver(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices, "_DRIVER", str(tmp_path / "gpus"))
    assert devices.cuda_device_count() == 0
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    assert devices.cuda_device_count() == 2
