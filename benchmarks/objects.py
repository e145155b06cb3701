"""How long does it take until every rank has the Python objects of all ranks?"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from benchmarks.harness.case import Case, Goal, Plain, Trial, copies
from benchmarks.harness.session import Session

MIB = 1 << 20


def small_dict(rank: int) -> list[Any]:
    return [{"a": 1, "b": "x", "rank": rank}]


def strings(rank: int) -> list[Any]:
    return [f"{rank:02d}{i:04d}".ljust(40, "x") for i in range(100)]


def array(rank: int) -> list[Any]:
    import numpy

    return [numpy.arange(16 * MIB // 4, dtype=numpy.int32) + rank]


def tensor(rank: int) -> list[Any]:
    import torch

    return [torch.from_numpy(array(rank)[0])]


def images(rank: int) -> list[Any]:
    import numpy

    size = 512 * 512 * 3
    pixels = (numpy.arange(size, dtype=numpy.int64) % 251).astype(numpy.uint8)
    return [(pixels + 10 * rank + i).reshape(512, 512, 3) for i in range(8)]


def same(a: Any, b: Any) -> bool:
    """Equal in type and content, arrays and tensors included."""
    import numpy
    import torch

    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, numpy.ndarray):
        return a.dtype == b.dtype and numpy.array_equal(a, b)
    return bool(a == b)


def gathering(content: Callable[[int], list[Any]]) -> Callable[[Any, int, int], Trial]:
    """The trial that gathers each rank's list of objects."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        mine = content(rank)

        def right(result: Any) -> bool:
            expected = [item for peer in range(ranks) for item in content(peer)]
            return len(result) == len(expected) and all(map(same, result, expected))

        return Trial(lambda: library.gather_object(mine), right)

    return make


def pickling(content: Callable[[int], list[Any]]) -> Plain:
    """The floor of small objects: one rank's list written and read once."""

    def make() -> Callable[[], Any]:
        mine = content(0)
        return lambda: pickle.loads(pickle.dumps(mine, protocol=5))

    return Plain("dumps + loads", make)


CASES = (
    Case(
        "small dict",
        gathering(small_dict),
        floor=pickling(small_dict),
        goal=Goal(times=150, factor=3),
    ),
    Case(
        "100 strings",
        gathering(strings),
        floor=pickling(strings),
        goal=Goal(times=30, factor=3),
    ),
    Case(
        "array of 16 MiB",
        gathering(array),
        floor=copies(16 * MIB, ranks=2, times=2),
        goal=Goal(times=10),
    ),
    Case(
        "tensor of 16 MiB",
        gathering(tensor),
        floor=copies(16 * MIB, ranks=2, times=2),
        goal=Goal(times=8),
    ),
    Case(
        "8 images of 512x512x3 as arrays",
        gathering(images),
        floor=copies(6 * MIB, ranks=2, times=2),
        goal=Goal(times=6),
    ),
    Case("small dict", gathering(small_dict), ranks=4, goal=Goal(times=40)),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
