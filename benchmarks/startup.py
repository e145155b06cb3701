"""How long does an interpreter take that only imports the library?"""

from __future__ import annotations

import os
import sys
import time
from functools import partial

from benchmarks.harness.case import LIBRARIES, Case, Goal, Own
from benchmarks.harness.contestants import BenchmarkError
from benchmarks.harness.session import FLOOR, Session


class Interpreter:
    """A contestant whose sample is the life of one fresh interpreter."""

    def __init__(self, statement: str) -> None:
        self.statement = statement

    def check(self) -> None:
        """The statement works; the first run also writes the bytecode caches."""
        self.once()

    def once(self) -> float:
        """Nanoseconds from the start of the interpreter until its end is known."""
        command = [sys.executable, "-c", self.statement]
        start = time.perf_counter_ns()
        pid = os.posix_spawn(sys.executable, command, os.environ)
        _, status = os.waitpid(pid, 0)
        elapsed = time.perf_counter_ns() - start
        if status != 0:
            raise BenchmarkError(f"{' '.join(command)} ended with status {status}")
        return float(elapsed)

    def run(self, warm_up: int, samples: int) -> list[float]:
        """The life of so many interpreters, one after the other."""
        del warm_up
        return [self.once() for _ in range(samples)]


CASES = (
    Case(
        "import",
        ranks=1,
        floor=Own("bare interpreter"),
        goal=Goal(times=30, factor=1, plus=10e6),
    ),
    # What the lazy import leaves for the first use of a name.
    Case("import PartialState", ranks=1, floor=Own("bare interpreter")),
)
STATEMENTS = {
    "import": "import {}",
    "import PartialState": "from {} import PartialState",
}


def run(session: Session) -> None:
    for case in CASES:
        statement = STATEMENTS[case.name]
        makers = {
            library: partial(Interpreter, statement.format(library))
            for library in LIBRARIES
        }
        makers[FLOOR] = partial(Interpreter, "pass")
        session.contest(__name__, case, makers, single=True)
