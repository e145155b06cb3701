"""How long does a rank take to get its share of the inputs?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.harness.case import Case, Goal, Plain, Trial
from benchmarks.harness.session import Session

SLICE_PLUS_NS = 300.0


def list_of(count: int) -> Callable[[], list[int]]:
    return lambda: list(range(count))


def tuple_of_10() -> tuple[int, ...]:
    return tuple(range(10))


def dict_of_lists() -> dict[str, list[int]]:
    return {name: list(range(100)) for name in ("prompt", "seed", "steps")}


def tensor() -> Any:
    import torch

    return torch.arange(64 * 128, dtype=torch.float32).reshape(64, 128)


def cut(inputs: Any, rank: int, ranks: int) -> Any:
    """The share of a rank by hand; all inputs here divide evenly."""
    if isinstance(inputs, dict):
        return {key: cut(value, rank, ranks) for key, value in inputs.items()}
    share = len(inputs) // ranks
    return inputs[rank * share : (rank + 1) * share]


def splitting(content: Callable[[], Any]) -> Callable[[Any, int, int], Trial]:
    """The trial of the documents' `with` statement."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        mine = content()
        state = library.state

        def call() -> Any:
            with state.split_between_processes(mine) as share:
                return share

        def call_with_copy() -> Any:
            with state.split_between_processes(mine.copy()) as share:
                return share

        def right(result: Any) -> bool:
            expected = cut(content(), rank, ranks)
            if hasattr(expected, "tolist"):
                return bool((result == expected).all())
            return type(result) is type(expected) and result == expected

        # accelerate writes the shares into the caller's dict, so that every further
        # call would cut a shorter one; both libraries get a copy each time.
        return Trial(call_with_copy if isinstance(mine, dict) else call, right)

    return make


def slicing(content: Callable[[], Any], label: str) -> Plain:
    """The floor: what a program writes that cuts its inputs by hand."""

    def make() -> Callable[[], Any]:
        mine = content()
        if isinstance(mine, dict):
            return lambda: {key: value[:50] for key, value in mine.items()}
        half = len(mine) // 2
        return lambda: mine[:half]

    return Plain(label, make)


def case(
    name: str,
    content: Callable[[], Any],
    times: float,
    *,
    batch: int = 20,
    floor: str = "the slice",
) -> Case:
    """One kind of input."""
    return Case(
        name,
        splitting(content),
        batch=batch,
        floor=slicing(content, floor),
        collective=False,
        goal=Goal(times=times, factor=1, plus=SLICE_PLUS_NS),
    )


CASES = (
    case("list of 10", list_of(10), 8),
    case("tuple of 10", tuple_of_10, 8),
    case("dict of 3 lists of 100", dict_of_lists, 4, floor="the slices in a dict"),
    case("tensor of 64x128", tensor, 1.8),
    case("list of 100,000", list_of(100_000), 0.95, batch=1),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
