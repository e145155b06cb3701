"""How long does a rank take to set its group up, once a launcher has started it?"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.harness.case import Case, Goal, Own
from benchmarks.harness.contestants import FOLDER, BenchmarkError
from benchmarks.harness.session import FLOOR, Session

RANKS = 2
DEADLINE_S = 120.0
NAME = "PartialState(cpu=True) under the launcher"


class Launched:
    """A contestant whose sample is the set-up of a group that was just launched.

    The ranks import what they need, say so, and start together at a word; the sample
    is the slower rank's. They end together too, since the group is one of all.
    """

    def __init__(self, folder: Path, contestant: str) -> None:
        self.path = str(folder / f"{contestant}.socket")
        self.contestant = contestant
        self.command = [
            *(sys.executable, "-m", *LAUNCHERS[contestant]),
            *("-m", "benchmarks.setup", contestant, self.path),
        ]

    def check(self) -> None:
        """Each rank finds that it is one of two; it says so itself."""
        self.once()

    def once(self) -> float:
        """Nanoseconds from the word until the slower rank has its group."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        # Installed packages have their bytecode; a working tree must be let have it.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.settimeout(DEADLINE_S)
            listener.bind(self.path)
            stack.callback(os.unlink, self.path)
            listener.listen(RANKS)
            launcher = subprocess.Popen(
                self.command,
                cwd=FOLDER.parent,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(launcher.wait)
            stack.callback(launcher.terminate)
            try:
                sample = float(max(self.conduct(listener)))
                _, said = launcher.communicate(timeout=DEADLINE_S)
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                launcher.terminate()
                _, said = launcher.communicate()
                raise BenchmarkError(f"{self.contestant}: {error}: {said}") from error
        if launcher.returncode != 0:
            raise BenchmarkError(f"{self.contestant}: {said}")
        return sample

    def conduct(self, listener: socket.socket) -> list[int]:
        """Give the word when all have come; the nanoseconds of each rank."""
        with contextlib.ExitStack() as stack:
            ranks = []
            for _ in range(RANKS):
                peer, _ = listener.accept()
                peer.settimeout(DEADLINE_S)
                ranks.append(stack.enter_context(peer))
            for peer in ranks:
                peer.sendall(b"go")
            return [int(peer.recv(32)) for peer in ranks]

    def run(self, warm_up: int, samples: int) -> list[float]:
        """So many launches, one after the other."""
        del warm_up
        return [self.once() for _ in range(samples)]


OURS = ("pyaccel.commands.launch", f"--num_processes={RANKS}")
LAUNCHERS = {
    # With this option accelerate starts as many processes as it is told.
    "accelerate": (
        "accelerate.commands.launch",
        "--multi_gpu",
        f"--num_processes={RANKS}",
    ),
    "pyaccel": OURS,
    FLOOR: OURS,
}
CASES = (
    Case(
        NAME,
        ranks=RANKS,
        floor=Own("init_process_group of gloo"),
        goal=Goal(times=1.1, factor=1, plus=3e6),
    ),
)


def run(session: Session) -> None:
    with tempfile.TemporaryDirectory() as name:
        makers = {
            contestant: partial(Launched, Path(name), contestant)
            for contestant in LAUNCHERS
        }
        for case in CASES:
            session.contest(__name__, case, makers, single=True)


def set_up_of(contestant: str) -> Callable[[], tuple[int, int]]:
    """What is timed, with all imported that a script would have imported before; it
    gives rank and size."""
    from torch import distributed

    if contestant == FLOOR:

        def set_up() -> tuple[int, int]:
            distributed.init_process_group("gloo")
            return distributed.get_rank(), distributed.get_world_size()

    else:
        library = importlib.import_module(contestant)
        kind = library.PartialState

        def set_up() -> tuple[int, int]:
            state = kind(cpu=True)
            return state.process_index, state.num_processes

    return set_up


def be_rank(contestant: str, path: str) -> None:
    """The life of a launched rank."""
    from torch import distributed

    set_up = set_up_of(contestant)
    with socket.socket(socket.AF_UNIX) as conductor:
        conductor.settimeout(DEADLINE_S)
        conductor.connect(path)
        conductor.recv(2)
        start = time.perf_counter_ns()
        found = set_up()
        elapsed = time.perf_counter_ns() - start
        if found != (int(os.environ["RANK"]), RANKS):
            raise RuntimeError(f"{contestant} made rank and size {found}")
        # Who leaves early would end the connections that the other still makes.
        distributed.barrier()
        conductor.sendall(str(elapsed).encode())
        distributed.destroy_process_group()


if __name__ == "__main__":
    be_rank(*sys.argv[1:])
