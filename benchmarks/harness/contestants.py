"""Those who run a case in turn: a library's group of ranks, or a floor.

Each has `check`, to be called once, and `run`, which gives that many samples.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from benchmarks.harness.case import Case, Native
from benchmarks.harness.rank import PLAIN
from benchmarks.harness.stats import slowest

# More than any order takes, imports and set-up of a group included.
DEADLINE_S = 180.0
NOTHING: Mapping[str, str] = {}
FOLDER = Path(__file__).resolve().parent.parent


class BenchmarkError(RuntimeError):
    """A contestant failed; the text says who, in what, and why."""


class Server:
    """The main process' side of a library's server, which holds one group at a time."""

    def __init__(self, library: str, variables: Mapping[str, str] = NOTHING) -> None:
        self.library = library
        self.variables = variables
        ours, theirs = socket.socketpair()
        # One thread a rank: there are never fewer ranks than CPUs.
        environment = dict(os.environ, OMP_NUM_THREADS="1", **variables)
        command = [sys.executable, "-m", "benchmarks.harness.server"]
        self.process = subprocess.Popen(
            [*command, library, str(theirs.fileno())],
            env=environment,
            pass_fds=[theirs.fileno()],
            # A group of its own, so that the end of the server can end its ranks too.
            start_new_session=True,
        )
        theirs.close()
        self.pipe = Connection(ours.detach())
        self.ranks = 0

    def order(self, *order: object) -> object:
        """Send an order and wait for its answer."""
        try:
            self.pipe.send(order)
            if not self.pipe.poll(DEADLINE_S):
                raise BenchmarkError(
                    f"{self.library}: no answer to {order} within {DEADLINE_S:.0f} s"
                )
            kind, value = self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise BenchmarkError(f"{self.library}: its server ended") from error
        if kind == "failed":
            raise BenchmarkError(f"{self.library}: {value}")
        return value

    def open(self, ranks: int, fresh: bool = False) -> None:
        """Have a group of so many ranks; the one at hand serves unless `fresh`."""
        if self.ranks == ranks and not fresh:
            return
        self.close_group()
        self.order("open", ranks)
        self.ranks = ranks

    def close_group(self) -> None:
        """End the group, if there is one."""
        if self.ranks:
            self.ranks = 0
            self.order("close")

    def close(self) -> None:
        """End the server and all its ranks; may be called twice."""
        if self.process.returncode is not None:
            return
        self.pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Contestant(Protocol):
    """Who takes part in a case's contest."""

    def check(self) -> None:
        """The result is right, or BenchmarkError."""

    def run(self, warm_up: int, samples: int) -> list[float]:
        """Nanoseconds of each sample, after so many that do not count."""


class GroupContestant:
    """A group of ranks with one case made ready."""

    def __init__(self, server: Server, module: str, case: Case) -> None:
        self.server = server
        self.collective = case.collective
        server.open(1 if server.library == PLAIN else case.ranks)
        server.order("all", "prepare", module, case.name, case.ranks)

    def check(self) -> None:
        """The result is right, or BenchmarkError."""
        self.server.order("all", "check")

    def run(self, warm_up: int, samples: int) -> list[float]:
        """Nanoseconds of each sample: on the slowest rank, or on every rank."""
        by_rank = self.server.order("all", "run", warm_up, samples)
        return slowest(by_rank) if self.collective else list(chain(*by_rank))


class NativeContestant:
    """A floor of floor.c; the program warms up by itself."""

    def __init__(self, program: Path, floor: Native) -> None:
        self.command = [
            str(program),
            floor.program,
            str(floor.ranks),
            str(floor.amount),
        ]
        self.times = floor.times

    def check(self) -> None:
        """A floor has no result."""

    def run(self, warm_up: int, samples: int) -> list[float]:
        """Nanoseconds of `times` operations, a sample each."""
        del warm_up
        done = subprocess.run(
            [*self.command, str(samples)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            raise BenchmarkError(f"{' '.join(self.command)}: {done.stderr.strip()}")
        return [float(line) * self.times for line in done.stdout.split()]


def compile_floor(folder: str) -> Path:
    """Compile floor.c with the system's compiler into `folder`."""
    program = Path(folder, "floor")
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-std=c11", "-pthread", "-o", str(program)]
    try:
        done = subprocess.run(
            [*command, str(FOLDER / "floor.c")],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise BenchmarkError(
            f"the floors need a C compiler and {compiler!r} is not there; "
            "install one or name it in the variable CC"
        ) from error
    if done.returncode != 0:
        raise BenchmarkError(f"floor.c did not compile: {done.stderr.strip()}")
    return program
