"""How long does one operation on a nested dict of 100 small tensors take?"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.gather import TENSORS, part
from benchmarks.harness.case import Case, Goal, Trial
from benchmarks.harness.session import Session


def nested(make: Any) -> dict[str, Any]:
    """Two dicts of five dicts of ten tensors each."""
    numbers = iter(range(TENSORS))
    return {
        part: {
            f"block{i}": {f"w{j}": make(next(numbers)) for j in range(10)}
            for i in range(5)
        }
        for part in ("encoder", "decoder")
    }


def leaves(tree: Any) -> list[Any]:
    return [
        leaf
        for part in tree.values()
        for block in part.values()
        for leaf in block.values()
    ]


def broadcast(library: Any, rank: int, ranks: int) -> Trial:
    import torch

    mine = nested(lambda i: part(rank, 512) + i)

    def right(result: Any) -> bool:
        root = part(0, 512)
        return all(torch.equal(t, root + i) for i, t in enumerate(leaves(result)))

    return Trial(lambda: library.broadcast(mine), right)


def pad(library: Any, rank: int, ranks: int) -> Trial:
    """Each rank has another number of rows, so all but the last one pad."""
    import torch

    mine = nested(lambda i: torch.full((4 + rank, 8), float(i + 1)))

    def right(result: Any) -> bool:
        return all(
            t.shape == (3 + ranks, 8)
            and bool((t[: 4 + rank] == i + 1).all())
            and not t[4 + rank :].any()
            for i, t in enumerate(leaves(result))
        )

    return Trial(lambda: library.pad_across_processes(mine), right)


def same_device(library: Any, rank: int, ranks: int) -> Trial:
    import torch

    mine = nested(lambda i: part(rank, 512) + i)
    cpu = torch.device("cpu")

    def right(result: Any) -> bool:
        return result is not mine and leaves(result) == leaves(mine)

    # Lists of tensors are compared by identity first, and so are these: nothing moved.
    return Trial(partial(library.send_to_device, mine, cpu), right)


def batch_size(library: Any, rank: int, ranks: int) -> Trial:
    import torch

    mine = nested(lambda i: torch.zeros(7, 2))
    return Trial(partial(library.find_batch_size, mine), lambda result: result == 7)


CASES = (
    Case("broadcast", broadcast, goal=Goal(times=60)),
    Case("pad_across_processes", pad, goal=Goal(times=60)),
    Case(
        "send_to_device, the same one",
        same_device,
        collective=False,
        goal=Goal(times=12),
    ),
    Case(
        "find_batch_size", batch_size, batch=20, collective=False, goal=Goal(times=15)
    ),
    Case("broadcast", broadcast, ranks=4, goal=Goal(times=60)),
    Case("pad_across_processes", pad, ranks=4, goal=Goal(times=60)),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
