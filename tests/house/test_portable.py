"""No instruction of one processor without a branch for all others.

The core is compiled as on a machine that is none of those that it knows: the system's
headers come first, then the compiler's names of this machine go away.
"""

import re

import pytest

from tests.c import runner
from tests.house.repository import CSRC, agree, name

# What the compilers call the machines that the core may know.
MACHINES = [
    *("__x86_64__", "__amd64__", "__i386__", "__aarch64__", "__arm__"),
    *("__SSE__", "__SSE2__", "__AVX__", "__AVX2__", "__ARM_NEON"),
]
# Headers, built-in functions and assembly that only one kind of processor has.
FOREIGN = re.compile(r"\w*mmintrin\.h|arm_\w+\.h|__builtin_(?:ia32|arm|aarch64)_\w+")
INTRINSICS = re.compile(r"\w*mmintrin\.h|arm_\w+\.h")


def headers_of(source):
    """The system's headers that a file includes, itself or by way of ours."""
    text = source.read_text()
    found = set(re.findall(r"^#include <([\w/]+\.h)>", text, re.M))
    for own in re.findall(r'^#include "([\w/]+\.h)"', text, re.M):
        found |= headers_of(CSRC / own)
    return {header for header in found if not INTRINSICS.fullmatch(header)}


def as_elsewhere(source, folder):
    """What the compiler says of a source, and the source's own preprocessed text."""
    prelude = folder / "prelude.h"
    lines = [f"#include <{header}>" for header in sorted(headers_of(source))]
    lines += [f"#undef {machine}" for machine in MACHINES]
    prelude.write_text("\n".join(lines) + "\n")
    flags = [*runner.DEFINITIONS, *runner.WARNINGS, "-O2", "-include", prelude]
    command = [runner.compiler(), *flags, source]
    compiled = runner.run_quietly([*command, "-c", "-o", folder / "object.o"])
    text = runner.run_quietly([*command, "-E"]).stdout
    # Behind the prelude and all that it includes, the source begins.
    return compiled, text[text.rindex("prelude.h") :]


def test_the_core_is_portable(tmp_path):
    if runner.compiler() is None:
        pytest.skip("there is no C compiler: install gcc or clang, or name one in CC")
    found = []
    for source in runner.core_sources():
        compiled, text = as_elsewhere(source, tmp_path)
        if compiled.returncode != 0:
            found.append(f"{name(source)}: {compiled.stdout}")
        found += [
            f"{name(source)} takes {match} on a machine that has none: give it another "
            "branch"
            for match in sorted(set(FOREIGN.findall(text)))
        ]
    agree(found)
