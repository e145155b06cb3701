"""How long does it take until every rank has the first rank's tensor?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.harness.case import Case, Goal, Trial, copies, one_way
from benchmarks.harness.session import Session

MIB = 1 << 20


def one_tensor(nbytes: int) -> Callable[[Any, int, int], Trial]:
    """The trial that broadcasts one tensor of nbytes."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        import torch

        del ranks
        expected = torch.arange(nbytes // 4, dtype=torch.int32)
        # Only the first rank starts with the right content.
        mine = expected.clone() if rank == 0 else torch.zeros_like(expected)
        return Trial(
            lambda: library.broadcast(mine),
            lambda result: torch.equal(result, expected),
        )

    return make


# A receiver writes the content once, while the first rank has nothing to write.
CASES = (
    Case("8 B", one_tensor(8), batch=10, floor=one_way(), goal=Goal(times=80)),
    Case("512 B", one_tensor(512), batch=10, floor=one_way(), goal=Goal(times=80)),
    Case("4 KiB", one_tensor(4096), batch=10, floor=one_way(), goal=Goal(times=80)),
    Case(
        "1 MiB",
        one_tensor(MIB),
        floor=copies(MIB, ranks=1, times=1),
        goal=Goal(times=4, factor=1.7),
    ),
    Case(
        "64 MiB",
        one_tensor(64 * MIB),
        floor=copies(64 * MIB, ranks=1, times=1),
        goal=Goal(times=1, factor=1.2),
    ),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
