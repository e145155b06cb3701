"""How long does it take until every rank has the sum of the tensors of all ranks?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.gather import MIB, TENSORS, part
from benchmarks.harness.case import Case, Goal, Trial
from benchmarks.harness.session import Session


def numbers(rank: int, nbytes: int) -> Any:
    """A rank's tensor of whole numbers, whose sums are exact."""
    return (part(rank, nbytes) % 1024).float()


def one_tensor(nbytes: int) -> Callable[[Any, int, int], Trial]:
    """The trial that sums one tensor of nbytes a rank."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        import torch

        mine = numbers(rank, nbytes)

        def right(result: Any) -> bool:
            return torch.equal(result, sum(numbers(p, nbytes) for p in range(ranks)))

        return Trial(lambda: library.reduce(mine, "sum"), right)

    return make


def dictionary(library: Any, rank: int, ranks: int) -> Trial:
    """The means of a dict of many tensors of 512 bytes."""
    import torch

    mine = {f"layer{i}": numbers(rank, 512) + i for i in range(TENSORS)}

    def right(result: Any) -> bool:
        mean = sum(numbers(peer, 512) for peer in range(ranks)) / ranks
        return list(result) == list(mine) and all(
            torch.equal(value, mean + i) for i, value in enumerate(result.values())
        )

    return Trial(lambda: library.reduce(mine, "mean"), right)


CASES = (
    Case("8 B", one_tensor(8), goal=Goal(times=80)),
    Case("1 MiB", one_tensor(MIB), goal=Goal(times=6)),
    Case("64 MiB", one_tensor(64 * MIB), goal=Goal(times=3)),
    Case(f"dict of {TENSORS} tensors of 512 B", dictionary, goal=Goal(times=90)),
    Case("8 B", one_tensor(8), ranks=4, goal=Goal(times=80)),
    Case("1 MiB", one_tensor(MIB), ranks=4, goal=Goal(times=6)),
    Case("64 MiB", one_tensor(64 * MIB), ranks=4, goal=Goal(times=3)),
    Case(
        f"dict of {TENSORS} tensors of 512 B", dictionary, ranks=4, goal=Goal(times=90)
    ),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
