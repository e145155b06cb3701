"""How long does it take until a rank that waits learns that another was killed?"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.harness.case import LIBRARIES, Case, Goal
from benchmarks.harness.contestants import FOLDER, BenchmarkError
from benchmarks.harness.server import free_port, import_all
from benchmarks.harness.session import Session

RANKS = 2
GROUPS = 20  # that one process of a contestant forks, one after the other
DEADLINE_S = 60.0
LIMIT_NS = 100e6
# So long the other has time to begin to wait, before the rank is killed.
HEAD_START_S = 0.05


class Killer:
    """A contestant whose samples come from a process of its own, which forks groups."""

    def __init__(self, library: str) -> None:
        self.library = library

    def check(self) -> None:
        """The survivor gets an exception; it says so itself."""
        self.once(1)

    def once(self, groups: int) -> list[float]:
        """Nanoseconds from the kill to the exception, in so many groups."""
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.failure", self.library, str(groups)],
                cwd=FOLDER.parent,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=DEADLINE_S * 4,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"{self.library}: {error}") from error
        if done.returncode != 0:
            raise BenchmarkError(f"{self.library}: {done.stderr}")
        return [float(sample) for sample in json.loads(done.stdout.splitlines()[-1])]

    def run(self, warm_up: int, samples: int) -> list[float]:
        """Several samples for each that is asked for: a group costs little."""
        del warm_up
        return self.once(GROUPS * samples)


CASES = (
    Case(
        "a rank is killed while the other waits in gather",
        ranks=RANKS,
        goal=Goal(plus=LIMIT_NS, statistic="p99"),
    ),
)


def run(session: Session) -> None:
    makers: dict[str, Callable[[], Any]] = {
        library: partial(Killer, library) for library in LIBRARIES
    }
    for case in CASES:
        session.contest(__name__, case, makers, single=True)


def be_rank(library: str, rank: int, port: int, ready: int, result: int) -> None:
    """The life of a forked rank; never returns. Rank 1 waits to be killed."""
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(RANKS),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(RANKS),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        ACCELERATE_USE_CPU="true",
    )
    import torch

    importlib.import_module(library).PartialState(cpu=True)
    gather = importlib.import_module(f"{library}.utils").gather
    gather(torch.ones(2))
    os.write(ready, b"r")
    while rank == 1:
        signal.pause()
    try:
        gather(torch.ones(2))
    except Exception:
        os.write(result, str(time.perf_counter_ns()).encode())
    os._exit(0)


def sample_of(library: str) -> int:
    """Nanoseconds from the kill of rank 1 to the exception on rank 0; a new group."""
    ready_out, ready_in = os.pipe()
    result_out, result_in = os.pipe()
    port = free_port()
    pids = []
    try:
        for rank in range(RANKS):
            pid = os.fork()
            if pid == 0:
                try:
                    be_rank(library, rank, port, ready_in, result_in)
                finally:
                    os._exit(1)
            pids.append(pid)
        for _ in range(RANKS):
            await_one(ready_out, 1)
        time.sleep(HEAD_START_S)
        killed = time.perf_counter_ns()
        os.kill(pids[1], signal.SIGKILL)
        return int(await_one(result_out, 32)) - killed
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for fd in (ready_out, ready_in, result_out, result_in):
            os.close(fd)


def await_one(fd: int, most: int) -> bytes:
    """The next message of at most so many bytes, for which there is a deadline."""
    if not select.select([fd], [], [], DEADLINE_S)[0]:
        raise TimeoutError(f"no word of a rank within {DEADLINE_S:.0f} s")
    return os.read(fd, most)


if __name__ == "__main__":
    import_all(sys.argv[1])
    print(json.dumps([sample_of(sys.argv[1]) for _ in range(int(sys.argv[2]))]))
