"""One rank of a library's group: takes orders from a pipe and times calls.

Between orders the rank blocks on the pipe, so that it takes no time from the group of
the other library, whose round it may be.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import re
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.harness.case import Case, Plain, Trial

PLAIN = "plain"
TORCH = "torch.distributed"
KIB = 1024
# The variable that names torch.distributed's backend where a case asks for one.
BACKEND = "BENCHMARKS_BACKEND"


# What cases call by these names in both libraries.
OPERATIONS = (
    "broadcast",
    "broadcast_object_list",
    "find_batch_size",
    "gather",
    "gather_object",
    "pad_across_processes",
    "reduce",
    "send_to_device",
)


class Library:
    """The names that a case uses, from one of the two libraries."""

    def __init__(self, name: str, rank: int, ranks: int) -> None:
        backend = os.environ.get(BACKEND)
        options = {"backend": backend} if backend else {}
        # Without cpu=True accelerate makes a world of one where no accelerator is.
        cpu = os.environ["ACCELERATE_USE_CPU"] == "true"
        self.state = importlib.import_module(name).PartialState(cpu=cpu, **options)
        found = (self.state.process_index, self.state.num_processes)
        if found != (rank, ranks):
            raise RuntimeError(f"{name} made rank and size {found}, not {rank, ranks}")
        self.name = name
        self.device = self.state.device
        operations = importlib.import_module(f"{name}.utils")
        for operation in OPERATIONS:
            setattr(self, operation, getattr(operations, operation))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is none of OPERATIONS")


def join(library: str, rank: int, ranks: int) -> Any:
    """The library's names in a group of all ranks."""
    if library == TORCH:
        return importlib.import_module("benchmarks.harness.torchlib").make(rank, ranks)
    return Library(library, rank, ranks)


def serve(orders: Connection, library: str, rank: int, ranks: int) -> None:
    """Carry out orders until the pipe ends; answers are ("ok" | "failed", value)."""
    worker = Worker(library, rank, ranks)
    while True:
        try:
            name, *arguments = orders.recv()
        except EOFError:
            return
        try:
            answer = ("ok", getattr(worker, name)(*arguments))
        except Exception:
            answer = ("failed", f"rank {rank}: {traceback.format_exc()}")
        orders.send(answer)


class Worker:
    """What a rank can be ordered to do: each method is an order."""

    def __init__(self, library: str, rank: int, ranks: int) -> None:
        self.library = library
        self.rank = rank
        self.ranks = ranks
        self.names: Any = None
        self.call: Callable[[], Any] | None = None
        self.right: Callable[[Any], bool] | None = None
        self.after: Callable[[], Any] | None = None
        self.batch = 1

    def prepare(self, module: str, name: str, ranks: int) -> None:
        """Make the case's call ready."""
        case = find_case(module, name, ranks)
        self.batch = case.batch
        self.call = self.right = self.after = None
        if self.library == PLAIN:
            if not isinstance(case.floor, Plain):
                raise TypeError(f"{module} {name} has no floor in Python")
            self.call = case.floor.make()
        else:
            if self.names is None:
                self.names = join(self.library, self.rank, self.ranks)
            trial: Trial = case.make(self.names, self.rank, self.ranks)
            self.call, self.right, self.after = trial.call, trial.right, trial.after
        # Objects of the imports would be walked by each collection within a round.
        gc.collect()
        gc.freeze()

    def check(self) -> None:
        """Call once and compare the result with what plain Python expects."""
        if self.right is not None and not self.right(self.call()):
            raise AssertionError(f"{self.library} gave a wrong result")

    def run(self, warm_up: int, samples: int) -> list[float]:
        """Nanoseconds of each call, a mean over a batch where calls are short."""
        call, batch, clock = self.call, self.batch, time.perf_counter_ns
        after = self.after
        for _ in range(warm_up * batch):
            call()
        times = []
        if batch == 1:
            for _ in range(samples):
                start = clock()
                call()
                times.append(float(clock() - start))
                if after is not None:
                    after()
            return times
        for _ in range(samples):
            start = clock()
            for _ in itertools.repeat(None, batch):
                call()
            times.append((clock() - start) / batch)
        return times

    def grow(self) -> list[float]:
        """Bytes by which the peak of this process' memory exceeds what it held before
        one call; the result is checked afterwards."""
        gc.collect()
        before = memory_bytes("VmRSS")
        # 5 sets the recorded peak back to what the process holds at this moment.
        Path("/proc/self/clear_refs").write_text("5")
        result = self.call()
        growth = memory_bytes("VmHWM") - before
        if not self.right(result):
            raise AssertionError(f"{self.library} gave a wrong result")
        return [float(growth)]


def find_case(module: str, name: str, ranks: int) -> Case:
    """The case of a benchmark file by its name and number of ranks."""
    cases = importlib.import_module(module).CASES
    return next(case for case in cases if (case.name, case.ranks) == (name, ranks))


def memory_bytes(field: str) -> int:
    """A figure of /proc/self/status, which counts in KiB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status of process {os.getpid()} has no {field}")
    return int(found[1]) * KIB
