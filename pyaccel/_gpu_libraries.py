"""Which libraries of NVIDIA's the core may open: variables and wheels say it.

The core takes what torch has loaded, so that a process has one of each; else the file
that a variable names; else what NVIDIA's wheels hold; else what the system finds.
"""

import errno
import os
import re
import sys
from glob import escape, glob

from . import _C

# Kind of the core -> the variable that names its file.
VARIABLES = {
    "cudart": "PYACCEL_CUDART_SO",
    "driver": "PYACCEL_CUDA_SO",
    "nccl": "PYACCEL_NCCL_SO",
    "nvml": "PYACCEL_NVML_SO",
}
# Kind -> its file in the wheels; the others come with NVIDIA's driver.
_WHEELS = {
    "cudart": "nvidia/*/lib/libcudart.so.*",
    "nccl": "nvidia/*/lib/libnccl.so.*",
}
_REMEDIES = {
    "cudart": "install PyTorch with CUDA",
    "driver": "install NVIDIA's driver",
    "nccl": "install PyTorch with CUDA",
    "nvml": "install NVIDIA's driver",
}
_GIB = 1 << 30


class _Told:
    """What the core was told: None before, then the files that variables named."""

    named: dict[str, str] | None = None


def prepare() -> None:
    """Tells the core which files to try; to be called before it looks for them.

    Only the first call does anything. FileNotFoundError where a variable names a file
    that is not there.
    """
    if _Told.named is None:
        named = {kind: path for kind in VARIABLES if (path := _named(kind))}
        for kind in VARIABLES:
            paths = [named[kind]] if kind in named else _in_wheels(kind)
            _C.gpu_search(kind, paths)
        _Told.named = named


def describe() -> list[str]:
    """Lines for people: each library with version and path, or why it is off; the GPUs.

    It does not initialise CUDA. FileNotFoundError as `prepare`.
    """
    prepare()
    libraries = _C.gpu_libraries()
    lines = [line for kind in libraries for line in _library(kind, libraries[kind])]
    if libraries["nvml"]["reason"]:
        return lines
    try:
        lines.append(f"NVIDIA driver {_C.gpu_driver()}")
        gpus = _C.gpu_list()
    except OSError as error:
        return [*lines, f"GPUs: not known: {error}"]
    lines += [_gpu(index, gpu) for index, gpu in enumerate(gpus)]
    return lines if gpus else [*lines, "GPUs: none"]


def _named(kind: str) -> str | None:
    """The file that the kind's variable names; None where it is not set."""
    variable = VARIABLES[kind]
    value = os.environ.get(variable)
    if not value:
        return None
    path = os.path.abspath(value)  # a bare name would be looked for elsewhere
    if not os.path.isfile(path):
        raise FileNotFoundError(
            errno.ENOENT,
            f"{variable} names a library that is not there: name its file, or unset "
            "the variable to let pyaccel look for it",
            path,
        )
    return path


def _in_wheels(kind: str) -> list[str]:
    """The kind's files in NVIDIA's wheels, newest first, in the order of imports."""
    pattern = _WHEELS.get(kind)
    if pattern is None:
        return []
    found = []
    for entry in filter(None, sys.path):
        here = glob(os.path.join(escape(os.path.abspath(entry)), pattern))
        found += sorted(here, key=_version, reverse=True)
    return list(dict.fromkeys(found))


def _version(path: str) -> list[int]:
    """The numbers at the end of a library's name."""
    return [int(part) for part in re.findall(r"\d+", path.rpartition(".so.")[2])]


def _library(kind: str, library: dict) -> list[str]:
    """What was found of a library, and whether that is what was asked for."""
    name, variable = library["name"], VARIABLES[kind]
    if library["reason"]:
        remedy = f"{_REMEDIES[kind]}, or name its file in {variable}"
        return [f"{name}: off: {library['reason']}: {remedy}"]
    source = ", which another library had loaded" if library["mapped"] else ""
    version = library["version"] and f" {library['version']}"
    lines = [f"{name}{version}: {library['path']}{source}"]
    named = (_Told.named or {}).get(kind)
    if named and os.path.realpath(named) != os.path.realpath(library["path"]):
        why = "another was there first" if library["mapped"] else "it cannot be used"
        lines.append(f"{name}: {variable} names {named}, but {why}")
    if library["passed"]:
        lines.append(f"{name}: not taken: {library['passed']}")
    return lines


def _gpu(index: int, gpu: dict) -> str:
    """One GPU as NVML knows it."""
    parts = [gpu["name"]]
    if gpu["memory"]:
        free = gpu["memory_free"] / _GIB
        parts.append(f"{gpu['memory'] / _GIB:.1f} GiB, {free:.1f} GiB of them free")
    if gpu["mig"] is not None:
        parts.append("MIG on" if gpu["mig"] else "MIG off")
    return f"GPU {index}: {', '.join(parts)}, {gpu['uuid']}"
