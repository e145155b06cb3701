"""Which libraries of a GPU the core takes, with the fakes in their place."""

import json
import shutil
from pathlib import Path

import pytest

from pyaccel import _C, _gpu_libraries
from tests import fakes
from tests.c import runner

ASK = """
import json
from pyaccel import _C, _gpu_libraries
lines = _gpu_libraries.describe()
print(json.dumps([lines, _C.gpu_libraries()]))
"""


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """What the fakes are built with."""
    if runner.compiler() is None:
        pytest.skip("there is no C compiler: install gcc or clang, or name one in CC")


@pytest.fixture
def ask(fresh):
    """Lines and libraries as a new process finds them, after the script `first`."""

    def ask_one(first="", **env):
        return json.loads(fresh.python(f"{first}\n{ASK}", env=env).check().stdout)

    return ask_one


@pytest.fixture
def put(tmp_path):
    """Puts NCCL's fake, and what it needs, under that path below the test's folder."""

    def put_one(path, library="nccl", **options):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        built = fakes.build(**options)
        shutil.copy(built[library], target)
        shutil.copy(built["cudart"], target.parent)
        return str(target)

    return put_one


def test_a_variable_names_the_file(put, ask):
    path = put("any/name.so")
    lines, found = ask(PYACCEL_NCCL_SO=path, FAKES_NCCL_VERSION="22907")
    assert f"NCCL 2.29.7: {path}" in lines
    wanted = {
        "path": path,
        "version": "2.29.7",
        "mapped": False,
        "reason": "",
        "passed": "",
    }
    assert found["nccl"] == {"name": "NCCL", **wanted}


def test_all_of_them(ask):
    env = fakes.environment(cuda_version=12080, driver_version=13000, devices=2)
    lines, found = ask(**env)
    assert [one["reason"] for one in found.values()] == [""] * 4
    gpus = lines.pop(), lines.pop()
    assert lines == [
        f"CUDA runtime 12.8: {env['PYACCEL_CUDART_SO']}",
        f"CUDA driver 13.0: {env['PYACCEL_CUDA_SO']}",
        f"NCCL 2.28.9: {env['PYACCEL_NCCL_SO']}",
        f"NVML: {env['PYACCEL_NVML_SO']}",
        "NVIDIA driver 580.65.06",
    ]
    for index, gpu in enumerate(reversed(gpus)):
        said = f"GPU {index}: Fake GPU, 0.5 GiB, 0.4 GiB of them free, MIG off, GPU-"
        assert gpu.startswith(said)


def test_nothing_of_cuda_is_initialised(ask, tmp_path):
    """Whoever asks may fork afterwards, as notebooks do."""
    ask(**fakes.environment(record=tmp_path))
    assert {call.name for call in fakes.recorded(tmp_path)} <= {
        *("cudaRuntimeGetVersion", "cuDriverGetVersion", "ncclGetVersion"),
        *("nvmlInit_v2", "nvmlShutdown", "nvmlSystemGetDriverVersion"),
        *("nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"),
        *("nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo"),
        "nvmlDeviceGetMigMode",
    }
    started, ended = (
        len(fakes.recorded(tmp_path, name)) for name in ("nvmlInit_v2", "nvmlShutdown")
    )
    assert started == ended > 0


def test_what_is_loaded_already_comes_first(put, ask):
    loaded, named = put("loaded/libnccl.so.2"), put("named/libnccl.so.2")
    first = f"import ctypes; ctypes.CDLL({loaded!r})"
    lines, found = ask(first, PYACCEL_NCCL_SO=named)
    assert found["nccl"]["mapped"]
    assert found["nccl"]["path"] == loaded
    assert f"NCCL 2.28.9: {loaded}, which another library had loaded" in lines
    said = f"NCCL: PYACCEL_NCCL_SO names {named}, but another was there first"
    assert said in lines


def test_a_loaded_library_that_does_not_do_is_passed_over(put, ask):
    poor = {"without": ("ncclCommAbort",)}
    bad = put("bad/libnccl.so.2", **poor), put("other/libnccl.so.3", **poor)
    first = f"import ctypes; kept = [ctypes.CDLL(path) for path in {bad}]"
    lines, found = ask(first)
    for path in bad:
        assert f"there is no ncclCommAbort in {path}" in found["nccl"]["reason"]
    good = put("named/libnccl.so.4")
    lines, found = ask(first, PYACCEL_NCCL_SO=good)
    assert found["nccl"]["path"] == good
    assert not found["nccl"]["mapped"]
    passed = "; ".join(f"there is no ncclCommAbort in {path}" for path in bad)
    assert f"NCCL: not taken: {passed}" in lines
    # The second that is loaded, where only the first does not do.
    loaded = put("loaded/libnccl.so.5")
    _, found = ask(f"{first} + [ctypes.CDLL({loaded!r})]")
    assert found["nccl"]["path"] == loaded
    assert found["nccl"]["mapped"]


def test_a_runtime_with_a_hash_in_its_name_is_seen(put, ask):
    """As torch's wheels for CUDA 11 have it."""
    loaded = put("libcudart-d0da41ae.so.11.0", "cudart")
    _, found = ask(f"import ctypes; ctypes.CDLL({loaded!r})")
    assert found["cudart"]["mapped"]
    assert found["cudart"]["path"] == loaded


def test_wheels_are_looked_through_newest_first(put, ask, tmp_path):
    put("one/nvidia/nccl/lib/libnccl.so.9")
    newest = put("one/nvidia/nccl/lib/libnccl.so.10")
    put("two/nvidia/cu99/lib/libnccl.so.11")
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    first = f"import sys; sys.path[:0] = {folders}"
    assert ask(first)[1]["nccl"]["path"] == newest
    # A file that a variable names stands before them.
    named = put("named.so")
    assert ask(first, PYACCEL_NCCL_SO=named)[1]["nccl"]["path"] == named


def test_an_old_nccl_is_off(put, ask):
    path = put("nccl.so")
    lines, found = ask(PYACCEL_NCCL_SO=path, FAKES_NCCL_VERSION="21303")
    reason = f"NCCL 2.13.3 is too old, 2.14 or newer is needed: {path}"
    assert found["nccl"]["reason"] == reason
    assert f"NCCL: off: {reason}: install PyTorch with CUDA, " in "\n".join(lines)


def test_a_missing_function_is_named(ask):
    missing = {
        "cudart": "cudaIpcOpenEventHandle",
        "driver": "cuDeviceGet",
        "nccl": "ncclCommAbort",
        "nvml": "nvmlDeviceGetUUID",
    }
    env = fakes.environment(without=missing.values())
    _, found = ask(**env)
    for kind, function in missing.items():
        path = env[_gpu_libraries.VARIABLES[kind]]
        assert found[kind]["reason"] == f"there is no {function} in {path}"


def test_some_functions_may_be_missing(ask):
    may_lack = ("cuDeviceGetUuid_v2", "ncclGetLastError", "nvmlDeviceGetMigMode")
    lines, found = ask(**fakes.environment(without=may_lack))
    assert [one["reason"] for one in found.values()] == [""] * 4
    assert "MIG" not in lines[-1]


def test_a_named_file_that_is_no_library_is_said(ask, tmp_path):
    path = tmp_path / "nccl.so"
    path.write_text("no library")
    lines, found = ask(PYACCEL_NCCL_SO=str(path))
    if found["nccl"]["reason"]:
        assert f"{path}: " in found["nccl"]["reason"]
    else:  # the system has one under its plain name
        said = f"NCCL: PYACCEL_NCCL_SO names {path}, but it cannot be used"
        assert said in lines


@pytest.mark.parametrize(
    "variable",
    ["PYACCEL_CUDART_SO", "PYACCEL_CUDA_SO", "PYACCEL_NCCL_SO", "PYACCEL_NVML_SO"],
)
def test_a_named_file_that_is_not_there(fresh, variable):
    result = fresh.python(
        "from pyaccel._gpu_libraries import prepare; prepare()",
        env={variable: "nowhere.so"},
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert f"{variable} names a library that is not there: name its file, or" in last
    assert "/nowhere.so'" in last


def test_files_count_until_the_library_was_looked_for(put, fresh):
    script = """
        import sys
        from pyaccel import _C
        assert _C.gpu_search("nccl", ["/nowhere"])
        assert _C.gpu_search("nccl", sys.argv[1:])
        assert _C.gpu_libraries()["nccl"]["path"] == sys.argv[1]
        assert not _C.gpu_search("nccl", ["/nowhere"])
        assert _C.gpu_libraries()["nccl"]["path"] == sys.argv[1]
    """
    fresh.python(script, put("nccl.so")).check()


def gpus(ask, **settings):
    """The lines about GPUs, where NVML is there."""
    lines, _ = ask(**fakes.environment(libraries=["nvml"], **settings))
    return lines[4:]


def test_a_gpu_that_is_divided(ask):
    _, gpu = gpus(ask, devices=3, mig=True)
    assert gpu.startswith("GPU 0: Fake GPU, ")
    assert ", MIG on, GPU-" in gpu


def test_a_gpu_of_another_container_is_left_out(ask):
    found = gpus(ask, devices=3, fail="nvmlDeviceGetHandleByIndex_v2:2:4")
    assert len(found) == 3  # the driver's line, and two GPUs


def test_a_gpu_without_memory_of_its_own(ask):
    fail = "nvmlDeviceGetMemoryInfo:1:3,nvmlDeviceGetMigMode:1:3"
    found = gpus(ask, devices=1, fail=fail)
    assert found[-1].startswith("GPU 0: Fake GPU, MIG off, GPU-")


def test_no_gpus(ask):
    assert gpus(ask, devices=0)[-1] == "GPUs: none"


@pytest.mark.parametrize(
    ("function", "code", "said"),
    [
        ("nvmlInit_v2", 9, "NVIDIA driver is not running"),
        ("nvmlDeviceGetCount_v2", 999, "Unknown Error"),
        ("nvmlDeviceGetHandleByIndex_v2", 999, "Unknown Error"),
        ("nvmlDeviceGetName", 999, "Unknown Error"),
        ("nvmlDeviceGetUUID", 999, "Unknown Error"),
    ],
)
def test_a_driver_that_refuses(ask, function, code, said):
    last = gpus(ask, fail=f"{function}:1+:{code}")[-1]
    assert last == f"GPUs: not known: {function} failed: {said}"


def test_a_real_runtime_is_found_in_its_wheel(ask):
    """It comes with the tests' requirements, and says its version without a GPU."""
    _, found = ask()
    assert found["cudart"]["reason"] == ""
    assert int(found["cudart"]["version"].split(".")[0]) >= 12
    assert Path(found["cudart"]["path"]).name.startswith("libcudart")


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="there is no library 'cuda'"):
        _C.gpu_search("cuda", [])
    with pytest.raises(ValueError, match="null"):
        _C.gpu_search("nccl", ["a\0b"])
