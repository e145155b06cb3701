"""How long does it take until every rank has the tensors of all ranks?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.harness.case import Case, Floor, Goal, Trial, copies, one_way
from benchmarks.harness.session import Session

MIB = 1 << 20
TENSORS = 100
TENSOR_NS = 1_500.0


def part(rank: int, nbytes: int) -> Any:
    """A rank's tensor: no two elements near each other are equal, no two ranks are."""
    import torch

    return torch.arange(nbytes // 4, dtype=torch.int32) * 4 + rank


def one_tensor(nbytes: int) -> Callable[[Any, int, int], Trial]:
    """The trial that gathers one tensor of nbytes a rank."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        import torch

        mine = part(rank, nbytes)

        def right(result: Any) -> bool:
            expected = torch.cat([part(peer, nbytes) for peer in range(ranks)])
            return torch.equal(result, expected)

        return Trial(lambda: library.gather(mine), right)

    return make


def dictionary(library: Any, rank: int, ranks: int) -> Trial:
    """A dict of many tensors of 512 bytes."""
    import torch

    mine = {f"layer{i}": part(rank, 512) + i for i in range(TENSORS)}

    def right(result: Any) -> bool:
        parts = [part(peer, 512) for peer in range(ranks)]
        expected = [torch.cat([p + i for p in parts]) for i in range(TENSORS)]
        return list(result) == list(mine) and all(
            torch.equal(a, b) for a, b in zip(result.values(), expected, strict=True)
        )

    return Trial(lambda: library.gather(mine), right)


def case(
    name: str,
    nbytes: int,
    times: float,
    *,
    ranks: int = 2,
    factor: float | None = None,
    floor: Floor | None = None,
) -> Case:
    """One tensor of nbytes on each rank."""
    goal = Goal(times=times, factor=factor)
    return Case(name, one_tensor(nbytes), ranks, floor=floor, goal=goal)


# Each rank's result has a part from every rank, so it must write two of them.
CASES = (
    case("8 B", 8, 80, floor=one_way()),
    case("512 B", 512, 80, floor=one_way()),
    case("4 KiB", 4096, 80, floor=one_way()),
    case("1 MiB", MIB, 6, floor=copies(MIB, ranks=2, times=2)),
    case("64 MiB", 64 * MIB, 8, factor=1.6, floor=copies(64 * MIB, ranks=2, times=2)),
    Case(
        f"dict of {TENSORS} tensors of 512 B",
        dictionary,
        goal=Goal(times=90, plus=TENSORS * TENSOR_NS, statistic="p10"),
    ),
    case("8 B", 8, 100, ranks=4),
    case("1 MiB", MIB, 3, ranks=4),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
