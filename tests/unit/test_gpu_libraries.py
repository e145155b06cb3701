"""Which libraries of a GPU the core takes, with ones that do nothing in their place."""

import subprocess
from pathlib import Path

import pytest

from tests.c import runner

# A library with every function that the core asks for, made of the core's own list.
NCCL = """
#include "gpu/nccl.h"
#define ncclGetVersion in_the_list
#define FUNCTION(name, parameters) int nccl##name parameters { return 0; }
PA_NCCL_MAP(FUNCTION)
#undef ncclGetVersion
int ncclGetVersion(int *version) { *version = VERSION; return 0; }
const char *ncclGetErrorString(int code) { (void)code; return ""; }
"""
# Three GPUs; the second one is nobody's business.
NVML = """
#include <stdio.h>
#define TEXT(name, text)                                                              \\
    int name(void *device, char *to, unsigned int size)                               \\
    { snprintf(to, size, text "%d", (int)(long)device); return 0; }
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "Driver Not Loaded"; }
int nvmlSystemGetDriverVersion(char *to, unsigned int size)
{ snprintf(to, size, "580.65.06"); return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{ *device = (void *)(long)index; return index == 1 ? 4 : 0; }
TEXT(nvmlDeviceGetName, "NVIDIA H200 no. ")
TEXT(nvmlDeviceGetUUID, "GPU-")
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory)
{ memory[0] = 140ull << 30; memory[1] = 35ull << 30; return device ? 3 : 0; }
int nvmlDeviceGetMigMode(void *device, unsigned int *now, unsigned int *next)
{ *now = *next = 1; return device ? 3 : 0; }
"""

ASK = """
    import json, sys
    from pyaccel import _C, _gpu_libraries
    lines = _gpu_libraries.describe()
    print(json.dumps([lines, _C.gpu_libraries()]))
"""


@pytest.fixture
def make(tmp_path):
    """Compiles a source, with these macros, to a library of that name."""
    if runner.compiler() is None:
        pytest.skip("there is no C compiler: install gcc or clang, or name one in CC")

    def make_one(path, source, **macros):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        defined = [f"-D{name}={value}" for name, value in macros.items()]
        flags = [*runner.DEFINITIONS, *defined, "-shared", "-fPIC", "-x", "c", "-"]
        command = [runner.compiler(), *flags, "-o", target]
        subprocess.run(command, input=source, text=True, check=True)
        return target

    return make_one


@pytest.fixture
def ask(fresh):
    """Lines and libraries as a new process finds them under these variables."""
    import json

    def ask_one(first="", **env):
        script = f"{first}\n" + ASK.replace("\n    ", "\n")
        return json.loads(fresh.python(script, env=env).check().stdout)

    return ask_one


def test_a_variable_names_the_file(make, ask):
    path = make("any/nccl.so", NCCL, VERSION=22809)
    lines, found = ask(PYACCEL_NCCL_SO=str(path))
    assert f"NCCL 2.28.9: {path}" in lines
    nccl = found["nccl"]
    assert (nccl["path"], nccl["version"]) == (str(path), "2.28.9")
    assert (nccl["reason"], nccl["mapped"]) == ("", False)


def test_what_is_loaded_already_comes_first(make, ask):
    loaded = make("loaded/libnccl.so.2", NCCL, VERSION=22907)
    named = make("named/libnccl.so.2", NCCL, VERSION=22809)
    first = f"import ctypes; ctypes.CDLL({str(loaded)!r})"
    lines, found = ask(first, PYACCEL_NCCL_SO=str(named))
    assert found["nccl"]["mapped"]
    assert found["nccl"]["path"] == str(loaded)
    assert f"NCCL 2.29.7: {loaded}, which another library had loaded" in lines
    said = f"NCCL: PYACCEL_NCCL_SO names {named}, but another was there first"
    assert said in lines


def test_a_runtime_with_a_hash_in_its_name_is_seen(make, ask):
    """As torch's wheels for CUDA 11 have it; here without the functions."""
    loaded = make("libcudart-d0da41ae.so.11.0", "int nothing;")
    _, found = ask(f"import ctypes; ctypes.CDLL({str(loaded)!r})")
    assert found["cudart"]["mapped"]
    assert found["cudart"]["reason"] == f"there is no cudaRuntimeGetVersion in {loaded}"


def test_wheels_are_looked_through_newest_first(make, ask, tmp_path):
    make("one/nvidia/nccl/lib/libnccl.so.9", NCCL, VERSION=21403)
    newest = make("one/nvidia/nccl/lib/libnccl.so.10", NCCL, VERSION=21504)
    make("two/nvidia/cu99/lib/libnccl.so.11", NCCL, VERSION=22809)
    first = f"import sys; sys.path[:0] = [{str(tmp_path / 'one')!r}, "
    first += f"{str(tmp_path / 'two')!r}]"
    _, found = ask(first)
    assert found["nccl"]["path"] == str(newest)
    # A file that a variable names stands before them.
    named = make("named.so", NCCL, VERSION=22809)
    _, found = ask(first, PYACCEL_NCCL_SO=str(named))
    assert found["nccl"]["path"] == str(named)


def test_an_old_nccl_is_off(make, ask):
    path = make("nccl.so", NCCL, VERSION=21303)
    lines, found = ask(PYACCEL_NCCL_SO=str(path))
    reason = f"NCCL 2.13.3 is too old, 2.14 or newer is needed: {path}"
    assert found["nccl"]["reason"] == reason
    assert f"NCCL: off: {reason}: install PyTorch with CUDA, " in "\n".join(lines)


def test_a_missing_function_is_named(make, ask):
    source = "#define ncclCommAbort ncclCommStop\n" + NCCL
    path = make("nccl.so", source, VERSION=22809)
    _, found = ask(PYACCEL_NCCL_SO=str(path))
    assert found["nccl"]["reason"] == f"there is no ncclCommAbort in {path}"


def test_a_named_file_that_is_no_library_is_said(ask, tmp_path):
    path = tmp_path / "nccl.so"
    path.write_text("no library")
    lines, found = ask(PYACCEL_NCCL_SO=str(path))
    if found["nccl"]["reason"]:
        assert f"{path}: " in found["nccl"]["reason"]
    else:  # the system has one under its plain name
        said = f"NCCL: PYACCEL_NCCL_SO names {path}, but it cannot be loaded"
        assert said in lines


@pytest.mark.parametrize(
    "variable",
    ["PYACCEL_CUDART_SO", "PYACCEL_CUDA_SO", "PYACCEL_NCCL_SO", "PYACCEL_NVML_SO"],
)
def test_a_named_file_that_is_not_there(fresh, variable, tmp_path):
    result = fresh.python(
        "from pyaccel._gpu_libraries import prepare; prepare()",
        env={variable: "nowhere.so"},
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert f"{variable} names a library that is not there: name its file, or" in last
    assert "/nowhere.so'" in last


def test_files_count_until_the_library_was_looked_for(make, fresh):
    path = make("nccl.so", NCCL, VERSION=22809)
    script = """
        import sys
        from pyaccel import _C
        assert _C.gpu_search("nccl", ["/nowhere"])
        assert _C.gpu_search("nccl", sys.argv[1:])
        assert _C.gpu_libraries()["nccl"]["path"] == sys.argv[1]
        assert not _C.gpu_search("nccl", ["/nowhere"])
        assert _C.gpu_libraries()["nccl"]["path"] == sys.argv[1]
    """
    fresh.python(script, path).check()


def test_gpus(make, ask):
    path = make("nvml.so", NVML, INIT=0)
    lines, _ = ask(PYACCEL_NVML_SO=str(path))
    assert lines[-4:] == [
        f"NVML: {path}",
        "NVIDIA driver 580.65.06",
        "GPU 0: NVIDIA H200 no. 0, 140.0 GiB, 35.0 GiB of them free, MIG on, GPU-0",
        "GPU 1: NVIDIA H200 no. 2, MIG off, GPU-2",
    ]


def test_a_driver_that_does_not_answer(make, ask):
    path = make("nvml.so", NVML, INIT=9)
    lines, _ = ask(PYACCEL_NVML_SO=str(path))
    assert lines[-1] == "GPUs: not known: nvmlInit_v2 failed: Driver Not Loaded"


def test_a_real_runtime_is_found_in_its_wheel(ask):
    """It comes with the tests' requirements, and says its version without a GPU."""
    _, found = ask()
    assert found["cudart"]["reason"] == ""
    assert int(found["cudart"]["version"].split(".")[0]) >= 12
    assert Path(found["cudart"]["path"]).name.startswith("libcudart")


def test_an_unknown_kind():
    from pyaccel import _C

    with pytest.raises(ValueError, match="there is no library 'cuda'"):
        _C.gpu_search("cuda", [])
    with pytest.raises(ValueError, match="null"):
        _C.gpu_search("nccl", ["a\0b"])
