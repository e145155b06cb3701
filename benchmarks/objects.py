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


def pil_images(rank: int) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(pixels) for pixels in images(rank)]


def arrays(rank: int) -> list[Any]:
    import numpy

    return [numpy.full(2_500_000, 10 * rank + i, numpy.int32) for i in range(10)]


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


def broadcasting(
    content: Callable[[int], list[Any]],
) -> Callable[[Any, int, int], Trial]:
    """The trial that broadcasts the first rank's list of objects."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        mine = content(rank)
        room = [None] * len(mine)

        def call() -> list[Any]:
            # The list is written into, so each call gets a new one.
            return library.broadcast_object_list(list(mine if rank == 0 else room))

        def right(result: Any) -> bool:
            expected = content(0)
            return len(result) == len(expected) and all(map(same, result, expected))

        return Trial(call, right)

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
    Case(
        "8 PIL images of 512x512",
        gathering(pil_images),
        floor=copies(6 * MIB, ranks=2, times=2),
        goal=Goal(times=4),
    ),
    Case("list of arrays of 100 MB", gathering(arrays), goal=Goal(times=6)),
    Case("small dict", gathering(small_dict), ranks=4, goal=Goal(times=40)),
    Case(
        "broadcast_object_list of a small dict",
        broadcasting(small_dict),
        goal=Goal(times=100),
    ),
    Case(
        "broadcast_object_list of an array of 16 MiB",
        broadcasting(array),
        goal=Goal(times=8),
    ),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
