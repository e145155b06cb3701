"""How much memory does one large collective need at its peak?"""

from __future__ import annotations

from typing import Any

from benchmarks.harness.case import Case, Fixed, Goal, Trial
from benchmarks.harness.session import Session
from benchmarks.objects import arrays, same

MIB = 1 << 20
NBYTES = 64 * MIB
RANKS = 2
PLUS = 16.0 * MIB


def part(rank: int) -> Any:
    import torch

    return torch.arange(NBYTES // 4, dtype=torch.int32) + rank


def gather(library: Any, rank: int, ranks: int) -> Trial:
    import torch

    # What the group's set-up takes is not the collective's growth.
    library.gather(torch.zeros(1))
    mine = part(rank)

    def right(result: Any) -> bool:
        return torch.equal(result, torch.cat([part(peer) for peer in range(ranks)]))

    return Trial(lambda: library.gather(mine), right)


def gather_object(library: Any, rank: int, ranks: int) -> Trial:
    import torch

    library.gather_object([rank])
    mine = part(rank)

    def right(result: Any) -> bool:
        expected = [part(peer) for peer in range(ranks)]
        return len(result) == ranks and all(map(torch.equal, result, expected))

    return Trial(lambda: library.gather_object([mine]), right)


def gather_list(library: Any, rank: int, ranks: int) -> Trial:
    """A list of ten arrays of 10 MB."""
    library.gather_object([rank])
    mine = arrays(rank)

    def right(result: Any) -> bool:
        expected = [array for peer in range(ranks) for array in arrays(peer)]
        return len(result) == len(expected) and all(map(same, result, expected))

    return Trial(lambda: library.gather_object(mine), right)


RESULT = Fixed("the result", RANKS * NBYTES)

# accelerate's growth times 0.6 or 0.4 at most, so that many times better.
CASES = (
    Case(
        "gather of 64 MiB",
        gather,
        ranks=RANKS,
        floor=RESULT,
        goal=Goal(times=1 / 0.6, factor=1, plus=PLUS),
    ),
    Case(
        "gather_object of a tensor of 64 MiB",
        gather_object,
        ranks=RANKS,
        floor=RESULT,
        goal=Goal(times=1 / 0.4, factor=1, plus=PLUS),
    ),
    Case(
        "gather_object of a list of 100 MB",
        gather_list,
        ranks=RANKS,
        floor=Fixed("the result", RANKS * 100e6),
        goal=Goal(factor=1, plus=64.0 * MIB),
    ),
)


def run(session: Session) -> None:
    session.grow(__name__, CASES)
