"""Builds pyaccel._C from csrc.

Switches, as environment variables: PYACCEL_DEBUG=1 (no optimisation),
PYACCEL_SANITIZE=address,undefined (or another list that the compiler knows),
PYACCEL_COVERAGE=1 (gcov's counters), PYACCEL_WERROR=1 (warnings are errors).
"""

import os
import sys
from pathlib import Path

import numpy
from setuptools import Extension, setup

ROOT = Path(__file__).parent
# The stable ABI from 3.11 on; 3.10 has no buffer protocol in it and takes the full API.
LIMITED = sys.version_info >= (3, 11)


def sources():
    return sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("csrc/**/*.c"))


def headers():
    return sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("csrc/**/*.h"))


def compile_flags():
    flags = ["-std=c11", "-fvisibility=hidden", "-pthread"]
    flags += ["-Wall", "-Wextra", "-Wpedantic"]
    flags += ["-O0", "-g"] if os.environ.get("PYACCEL_DEBUG") else ["-O2"]
    link = ["-pthread"]
    if kinds := os.environ.get("PYACCEL_SANITIZE"):
        flags += [f"-fsanitize={kinds}", "-fno-omit-frame-pointer", "-g"]
        link += [f"-fsanitize={kinds}"]
    if os.environ.get("PYACCEL_COVERAGE"):
        flags += ["--coverage"]
        link += ["--coverage"]
    if os.environ.get("PYACCEL_WERROR"):
        flags += ["-Werror"]
    return flags, link


def extension():
    flags, link = compile_flags()
    macros = [("_GNU_SOURCE", "1"), ("NPY_NO_DEPRECATED_API", "NPY_1_22_API_VERSION")]
    macros += [("NPY_TARGET_VERSION", "NPY_1_22_API_VERSION")]
    if LIMITED:
        macros.append(("Py_LIMITED_API", "0x030B0000"))
    return Extension(
        "pyaccel._C",
        sources=sources(),
        depends=headers(),
        # NumPy's headers as system headers: their warnings are not ours.
        include_dirs=["csrc"],
        extra_compile_args=flags + [f"-isystem{numpy.get_include()}"],
        extra_link_args=link,
        define_macros=macros,
        py_limited_api=LIMITED,
    )


if __name__ == "__main__":  # The tests import this file for its flags.
    tag = {"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {}
    setup(ext_modules=[extension()], options=tag)
