"""Random programs of collectives: what each rank calls, and what it must get.

A program follows from its seed alone, so that every rank makes the same one. `perform`
runs a step on the calling rank and compares what it got with what plain torch says.
"""

import random
from dataclasses import dataclass

import torch

from pyaccel import PartialState
from pyaccel.utils import operations
from tests.harness import here

OPERATIONS = (
    "barrier",
    "first",
    "gather",
    "gather_object",
    "broadcast",
    "broadcast_object_list",
    "reduce",
    "pad",
    "copy",
)
# How one rank's call may differ; what none of these fits has "operation" alone.
CHANGES = {
    "gather": ("operation", "dtype", "width", "structure", "leaf", "root"),
    "gather_object": ("operation", "unpicklable", "root"),
    "broadcast": ("operation", "dtype", "width", "structure", "leaf", "root"),
    "broadcast_object_list": ("operation", "root", "length"),
    "reduce": ("operation", "dtype", "width", "structure", "leaf", "argument"),
    "pad": ("operation", "structure", "leaf", "argument"),
}
DTYPES = (torch.float32, torch.float64, torch.int64, torch.bfloat16, torch.bool)
# Rows of a leaf: a card's payload, a chunk's, several chunks'.
ROWS = (0, 1, 3, 700, 60_000)


@dataclass(frozen=True)
class Step:
    """One call that all ranks make."""

    number: int
    operation: str
    dtype: torch.dtype
    width: int
    rows: tuple[int, ...]  # by rank, where they may differ
    root: int
    to_root: bool  # a gather is for the root alone
    reduction: str
    nested: bool


@dataclass(frozen=True)
class Program:
    """Steps, and a fault: which rank, before which step, and how exactly."""

    seed: int
    size: int
    steps: tuple[Step, ...]
    victim: int
    point: int  # the number of a step
    by_other: bool  # another rank inflicts the fault, at no certain moment
    delay: float
    change: str

    @property
    def other(self):
        """The rank that inflicts the fault if the victim does not do so itself."""
        return (self.victim + 1) % self.size


def make(seed):
    """The program of a seed."""
    chance = random.Random(seed)
    size = chance.choice((2, 2, 3, 4))
    steps = tuple(_step(chance, number, size) for number in range(6))
    point = chance.randrange(len(steps))
    changes = CHANGES.get(steps[point].operation, ("operation",))
    return Program(
        seed=seed,
        size=size,
        steps=steps,
        victim=chance.randrange(size),
        point=point,
        by_other=chance.random() < 0.5,
        delay=chance.choice((0.0001, 0.001, 0.03, 0.06)),
        change=chance.choice(changes),
    )


def _step(chance, number, size):
    operation = chance.choice(OPERATIONS)
    dtypes = DTYPES[:2] if operation == "reduce" else DTYPES
    rows = chance.choice(ROWS)
    uneven = operation in ("gather", "pad") and chance.random() < 0.5
    return Step(
        number=number,
        operation=operation,
        dtype=chance.choice(dtypes),
        width=chance.choice((1, 2, 5)),
        rows=tuple(rows + (rank if uneven else 0) for rank in range(size)),
        root=chance.randrange(size),
        to_root=chance.random() < 0.4,
        reduction=chance.choice(("sum", "mean", "max", "min")),
        nested=chance.random() < 0.5,
    )


def leaf_of(step, rank):
    """What a rank contributes."""
    rows, width = step.rows[rank], step.width
    numbers = torch.arange(rows * width) % 97 + 7 * rank + step.number
    return numbers.reshape(rows, width).to(step.dtype)


def _own(step, change):
    """The own argument of an operation on tensors, changed if this rank differs."""
    leaf = leaf_of(step, here.rank)
    if change == "dtype":
        leaf = leaf.to(torch.float16)
    elif change == "width":
        leaf = torch.zeros(step.rows[here.rank], step.width + 1, dtype=step.dtype)
    elif change == "leaf":
        return {"a": leaf, "b": "text"}
    elif change == "structure":
        return [leaf, leaf]
    return {"a": leaf, "b": [leaf]} if step.nested else leaf


def _root(step, change):
    return (step.root + (change == "root")) % here.size


def _check(step, got, expected):
    """Every leaf of what this rank got is what was expected."""
    if expected is None:
        assert got is None
        return
    for leaf in (got["a"], got["b"][0]) if step.nested else (got,):
        assert leaf.dtype == expected.dtype
        if step.operation == "reduce":
            torch.testing.assert_close(leaf, expected)
        else:
            assert torch.equal(leaf, expected)


def perform(step, change=""):
    """Makes the call, differing by `change`, and checks what comes back."""
    operation = step.operation
    if change == "operation":
        other = _gather_object if operation == "reduce" else _reduce
        other(step, "")
    else:
        globals()[f"_{operation}"](step, change)


def _barrier(step, change):
    PartialState().wait_for_everyone()


def _first(step, change):
    with PartialState().main_process_first():
        pass


def _gather(step, change):
    dst = _root(step, change) if step.to_root or change == "root" else None
    got = operations.gather(_own(step, change), dst=dst)
    alone = dst is not None and dst != here.rank
    all_leaves = [leaf_of(step, rank) for rank in range(here.size)]
    _check(step, got, None if alone else torch.cat(all_leaves))


def _gather_object(step, change):
    dst = _root(step, change) if step.to_root or change == "root" else None
    own = [(here.rank, step.number), "x" * (step.rows[0] % 1000)]
    if change == "unpicklable":
        own.append(lambda: None)
    got = operations.gather_object(own, dst=dst)
    if dst is None or dst == here.rank:
        assert got[::2] == [(rank, step.number) for rank in range(here.size)]
    else:
        assert got is None


def _broadcast(step, change):
    root = _root(step, change)
    got = operations.broadcast(_own(step, change), from_process=root)
    _check(step, got, leaf_of(step, root))


def _broadcast_object_list(step, change):
    root = _root(step, change)
    own = [(here.rank, step.number), "x" * step.rows[0]]
    own += ["more"] * (change == "length")
    operations.broadcast_object_list(own, from_process=root)
    assert own[0] == (root, step.number)


def _reduce(step, change):
    reduction = step.reduction
    if change == "argument":
        reduction = "max" if reduction == "min" else "min"
    if not step.dtype.is_floating_point:
        reduction = "max"
    got = operations.reduce(_own(step, change), reduction)
    stacked = torch.stack([leaf_of(step, rank).double() for rank in range(here.size)])
    how = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}
    _check(step, got, how[reduction](stacked, 0).to(step.dtype))


def _pad(step, change):
    dim = 1 if change == "argument" else 0
    got = operations.pad_across_processes(_own(step, change), dim)
    own = leaf_of(step, here.rank)
    expected = own.new_zeros(max(step.rows), step.width)
    expected[: len(own)] = own
    _check(step, got, expected)


def _copy(step, change):
    own = leaf_of(step, here.rank) if here.rank == step.root else None
    got = operations.copy_tensor_to_devices(own)
    assert torch.equal(got, leaf_of(step, step.root))
