"""How long, and how much processor time, does a launch of two empty scripts take?"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.harness.case import LIBRARIES, Case, Goal, Own
from benchmarks.harness.contestants import BenchmarkError
from benchmarks.harness.session import FLOOR, Session

WALL = "2 empty scripts, wall"
CPU = "2 empty scripts, CPU of all processes"
TORCHRUN = "torchrun"
ROOT = Path(__file__).resolve().parents[1]
COMMAND = ROOT / "pyaccel" / "commands" / "bin" / "pyaccel"


class Launch:
    """A contestant whose sample is one launch, from its start to its end.

    The commands run one after the other or at once; the workers leave a mark when they
    run, so that a launch of too few is not taken for a fast one.
    """

    def __init__(self, folder: Path, commands: list[list[str]], cpu: bool) -> None:
        self.folder = folder
        self.commands = commands
        self.cpu = cpu

    def check(self) -> None:
        """Two workers run; the first launch also writes the bytecode caches."""
        for mark in self.folder.glob("ran.*"):
            mark.unlink()
        self.once()
        ran = len(list(self.folder.glob("ran.*")))
        if ran != 2:
            raise BenchmarkError(f"{self.commands[0]} ran {ran} workers, not 2")

    def once(self) -> float:
        """Nanoseconds of wall or of processor time, all descendants included."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter_ns()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        # A script is not started with the current folder in its path, as -m is.
        path = (str(ROOT), environment.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        # Installed packages have their bytecode; a working tree must be let have it.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        nowhere = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        pids = [
            os.posix_spawn(command[0], command, environment, file_actions=nowhere)
            for command in self.commands
        ]
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        elapsed = time.perf_counter_ns() - start
        if any(statuses):
            raise BenchmarkError(f"{self.commands[0]} ended with {statuses}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return spent * 1e9 if self.cpu else float(elapsed)

    def run(self, warm_up: int, samples: int) -> list[float]:
        """So many launches, one after the other."""
        del warm_up
        return [self.once() for _ in range(samples)]


# torchrun's goal is 30 times; accelerate, which runs it, has the larger one.
GOAL = Goal(times=50, factor=1.3, plus=15e6)
CASES = (
    Case(WALL, floor=Own("two bare interpreters"), goal=GOAL),
    Case(CPU, floor=Own("two bare interpreters"), goal=GOAL),
)


def commands_of(script: Path) -> dict[str, list[list[str]]]:
    """What starts two workers, by contestant."""
    python = [sys.executable]
    # accelerate starts a single process on a CPU, whatever it is told; with this option
    # it starts as many as are asked for, and these do not look for a GPU.
    accelerate = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes=2",
    ]
    # As typed. What pip installs as accelerate and torchrun imports a little more than
    # the modules that are started here in their stead.
    ours = [str(COMMAND), "launch", "--num_processes=2"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return {
        "accelerate": [[*python, *accelerate, str(script)]],
        "pyaccel": [[*python, *ours, str(script)]],
        TORCHRUN: [[*python, *torchrun, str(script)]],
        FLOOR: [[*python, str(script)]] * 2,
    }


def run(session: Session) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "empty.py"
        script.write_text(
            f"open(f'{folder}/ran.{{__import__(\"os\").getpid()}}', 'w')\n"
        )
        commands = commands_of(script)
        for case in CASES:
            makers = {
                contestant: partial(
                    Launch, folder, commands[contestant], case is CASES[1]
                )
                for contestant in (*LIBRARIES, TORCHRUN, FLOOR)
            }
            session.contest(__name__, case, makers, single=True)
