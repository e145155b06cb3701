"""Our declarations of CUDA, NCCL and NVML against the headers of these, where they are.

CUDA's toolkit and NVIDIA's wheels both bring headers; every set of them is compared.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.c import runner

HERE = Path(__file__).parent
FLAGS = [*runner.DEFINITIONS, *runner.WARNINGS, "-fsyntax-only"]


def toolkits():
    """Include folders of CUDA's toolkits: the one that is named, and the usual ones."""
    named = [Path(os.environ["CUDA_HOME"])] if os.environ.get("CUDA_HOME") else []
    homes = {path.resolve() for path in [*named, *Path("/usr/local").glob("cuda*")]}
    return sorted(home / "include" for home in homes)


def wheels():
    """Include folders of NVIDIA's wheels, wherever packages are imported from."""
    found = {
        folder.resolve()
        for entry in map(Path, filter(None, sys.path))
        for folder in entry.glob("nvidia/*/include")
    }
    return sorted(found)


def folders(header, *also):
    """Lists of folders to include from, one for each `header` that is here."""
    own = [folder for folder in toolkits() if (folder / header).is_file()]
    theirs = [folder for folder in wheels() if (folder / header).is_file()]
    # A wheel has what it needs in other wheels, and in the toolkit if all else fails.
    return [[folder, *wheels(), *also, *toolkits()] for folder in [*own, *theirs]]


def compile_against(source, include, *first):
    """Compiles a source against these folders; the compiler's words, "" if it likes it.

    In the folders `first` our own headers are looked for before those of csrc.
    """
    searched = [f"-I{folder}" for folder in first]
    searched += [f"-isystem{folder}" for folder in include]
    command = [runner.compiler(), *searched, *FLAGS, f"-I{HERE}", HERE / source]
    result = runner.run_quietly(command)
    return result.stdout if result.returncode != 0 else ""


CUDA = folders("cuda_runtime_api.h")
NCCL = folders("nccl.h") if CUDA else []
NVML = folders("nvml.h")


def cases(found, name, wheel):
    """A parameter for each set of headers, or one that is skipped."""
    if runner.compiler() is None:
        reason = "there is no C compiler: install gcc or clang, or name one in CC"
    else:
        reason = f"no header of {name} for GPUs is here: pip install {wheel}"
    return [pytest.param(include, id=str(include[0])) for include in found] or [
        pytest.param([], marks=pytest.mark.skip(reason=reason))
    ]


@pytest.mark.parametrize("include", cases(CUDA, "CUDA", "nvidia-cuda-runtime"))
def test_cuda(include):
    assert compile_against("cuda.c", include) == ""


@pytest.mark.parametrize("include", cases(NCCL, "NCCL", "nvidia-nccl-cu13"))
def test_nccl(include):
    assert compile_against("nccl.c", include) == ""


@pytest.mark.parametrize("include", cases(NVML, "NVML", "nvidia-nvml-dev"))
def test_nvml(include):
    assert compile_against("nvml.c", include) == ""


# What the compiler must object to: a wrong value, parameter, result and size.
PLANTED = {
    "value": ("PA_CUDA_NOT_READY = 600", "PA_CUDA_NOT_READY = 601"),
    "parameter": ("X(SetDevice, (int device))", "X(SetDevice, (long device))"),
    "order": ("(void **address, size_t nbytes))", "(size_t nbytes, void **address))"),
    "constness": ("void *to, const void *from", "void *to, void *from"),
    "name": ("X(StreamDestroy,", "X(StreamDestruct,"),
    "size": ("PA_CUDA_IPC_BYTES = 64", "PA_CUDA_IPC_BYTES = 32"),
    "result": ("const char *(*GetErrorName)(int", "const char *(*GetErrorName)(long"),
}


@pytest.mark.parametrize("include", cases(CUDA, "CUDA", "nvidia-cuda-runtime")[:1])
@pytest.mark.parametrize("what", PLANTED)
def test_a_difference_is_seen(what, include, tmp_path):
    right, wrong = PLANTED[what]
    text = (runner.ROOT / "csrc/gpu/cuda.h").read_text()
    assert text.count(right) == 1
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu/cuda.h").write_text(text.replace(right, wrong))
    assert "error" in compile_against("cuda.c", include, tmp_path)
