"""How long does a rank take in a collective to tell whether all make the same call?"""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.harness.case import Case, Goal
from benchmarks.harness.contestants import DEADLINE_S, FOLDER, BenchmarkError
from benchmarks.harness.session import Session

BATCH = 1000
BASE_NS, LEAF_NS = 100.0, 20.0
SOURCES = ("clock", "dtype", "hash", "leaf", "status")


class Check:
    """A contestant: the core's own function in a C program, without an exchange.

    accelerate has nothing like it outside its debug mode.
    """

    def __init__(self, program: Path, leaves: int) -> None:
        self.command = [str(program), str(leaves), str(BATCH)]

    def check(self) -> None:
        """That other calls have other fingerprints is shown by the tests."""

    def run(self, warm_up: int, samples: int) -> list[float]:
        """Nanoseconds of each sample; the program warms up by itself."""
        del warm_up
        command = [*self.command, str(samples)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        if done.returncode != 0:
            raise BenchmarkError(f"{' '.join(command)}: {done.stderr.strip()}")
        return [float(line) for line in done.stdout.split()]


def build(folder: str) -> Path:
    """Compile check.c with the part of the core that it measures into `folder`."""
    program = Path(folder, "check")
    core = FOLDER.parent / "csrc"
    command = [os.environ.get("CC", "cc"), "-O2", "-std=c11", "-D_GNU_SOURCE"]
    command += [f"-I{core}", str(Path(__file__).with_suffix(".c"))]
    command += [str(core / "base" / f"{name}.c") for name in SOURCES]
    done = subprocess.run(
        [*command, "-o", str(program)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchmarkError(f"check.c did not compile: {done.stderr.strip()}")
    return program


LEAVES = (1, 10, 100)
CASES = tuple(
    Case(
        f"fingerprint of {leaves} {'leaf' if leaves == 1 else 'leaves'}",
        ranks=1,
        batch=BATCH,
        goal=Goal(plus=BASE_NS + LEAF_NS * leaves),
    )
    for leaves in LEAVES
)


def run(session: Session) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder)
        for case, leaves in zip(CASES, LEAVES, strict=True):
            maker = partial(Check, program, leaves)
            session.contest(__name__, case, {"pyaccel": maker})
