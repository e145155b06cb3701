"""Ranks that call different things: one error on every rank, and the group lives on."""

import enum
from collections import OrderedDict

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import (
    DistributedOperationException,
    broadcast,
    broadcast_object_list,
    gather,
    gather_object,
)
from tests.distributed.values import Pair
from tests.harness import here

several = pytest.mark.parametrize("size", [2, 3, 4])


def barrier():
    PartialState().wait_for_everyone()


def still_usable():
    """Several operations in a row find the ranks in step."""
    barrier()
    assert gather(torch.tensor([here.rank])).tolist() == list(range(here.size))
    assert gather_object([here.rank]) == list(range(here.size))
    got = broadcast(torch.full((300_000,), here.rank))
    assert (got == 0).all()


def differ(calls):
    """The last rank makes the second call and every other rank the first."""
    PartialState()
    function, argument = calls[here.rank == here.size - 1]
    with pytest.raises(DistributedOperationException) as caught:
        function(*argument)
    still_usable()
    return type(caught.value).__name__, str(caught.value)


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


OPERATIONS = {
    "gather": (gather, (ones(2),)),
    "broadcast": (broadcast, (ones(2),)),
    "gather_object": (gather_object, (["x"],)),
    "broadcast_object_list": (broadcast_object_list, (["x"],)),
    "wait_for_everyone": (barrier, ()),
}
PAIRS = [(a, b) for a in OPERATIONS for b in OPERATIONS if a != b]


@several
@pytest.mark.parametrize(("most", "last"), PAIRS)
def test_different_operations(backend, size, most, last):
    results = backend.run(differ, (OPERATIONS[most], OPERATIONS[last]), size=size)
    # Every rank reads the same: who did what.
    assert len(set(results)) == 1
    assert f"{most}" in results[0][1]
    assert f"{last}" in results[0][1]
    assert f"{size - 1}" in results[0][1]


class Colour(enum.Enum):
    RED = object()
    BLUE = object()


LEAVES = {
    "dtypes": (ones(2), ones(2, dtype=torch.int32)),
    "dtypes of one size, large": (
        torch.ones(300_000),
        torch.ones(300_000, dtype=torch.int32),
    ),
    "inner shapes": (ones(2, 3), ones(3, 2)),
    "inner shapes, empty": (ones(0, 3), ones(2, 4)),
    "dimensions": (ones(6), ones(2, 3)),
    "0-dim and 1-dim": (ones(), ones(1)),
    "numbers of leaves": ([ones(2)], [ones(2), ones(2)]),
    "empty and not": ([], [ones(2)]),
    "keys": ({"a": ones(2)}, {"b": ones(2)}),
    "keys of two types": ({1: ones(2)}, {"1": ones(2)}),
    "keys of two numeric types": ({1: ones(2)}, {True: ones(2)}),
    "keys in a tuple": ({("a", 1): ones(2)}, {("a", 2): ones(2)}),
    "enum members": ({Colour.RED: ones(2)}, {Colour.BLUE: ones(2)}),
    "containers": ([ones(2), ones(2)], {"a": ones(2), "b": ones(2)}),
    "depths": ([ones(2), [ones(2)]], [[ones(2)], ones(2)]),
    "tensor and array": (ones(2), np.ones(2, np.float32)),
    "array dtypes": (np.ones(2, np.float32), np.ones(2, np.int32)),
    "float8 kinds": (
        torch.ones(2).to(torch.float8_e4m3fn),
        torch.ones(2).to(torch.float8_e5m2),
    ),
}


def differ_in_leaves(operation, case):
    # Looked up here: torch cannot unpickle tensors of every dtype.
    most, last = LEAVES[case]
    return differ(((operation, (most,)), (operation, (last,))))


@several
@pytest.mark.parametrize("operation", [gather, broadcast])
@pytest.mark.parametrize("case", LEAVES)
def test_different_leaves(backend, size, operation, case):
    results = backend.run(differ_in_leaves, operation, case, size=size)
    assert len(set(results)) == 1
    assert operation.__name__ in results[0][1]


STRUCTURES = {
    "keys": (
        {"a": ones(2), "b": [ones(2)]},
        {"a": ones(2), "c": (ones(2),)},
        ("{'a': _, 'b': [_]}", "{'a': _, 'c': (_,)}"),
    ),
    "namedtuple and list": (
        Pair(ones(2), ones(2)),
        [ones(2), ones(2)],
        ("Pair(_, _)", "[_, _]"),
    ),
    "empty and not": ([], {"a": OrderedDict()}, ("[]", "{'a': OrderedDict{}}")),
    "long": (
        {i: ones(2) for i in range(1000)},
        [ones(2)] * 1000,
        ("{0: _, 1: _", ", _..."),
    ),
}


def differ_in_structure(case):
    most, last, said = STRUCTURES[case]
    _, text = differ(((gather, (most,)), (gather, (last,))))
    lines = [line for line in text.splitlines() if "- rank" in line]
    for rank, line in enumerate(lines):
        assert said[rank == here.size - 1] in line, text
    return len(lines)


@several
@pytest.mark.parametrize("case", STRUCTURES)
def test_containers_are_spelled_out(backend, size, case):
    assert backend.run(differ_in_structure, case, size=size) == [size] * size


@several
def test_broadcast_needs_equal_first_dimensions(backend, size):
    calls = ((broadcast, (ones(2),)), (broadcast, (ones(3),)))
    results = backend.run(differ, calls, size=size)
    assert len(set(results)) == 1


@several
@pytest.mark.parametrize("operation", [broadcast, broadcast_object_list])
def test_different_roots(backend, size, operation):
    value = [ones(2)]
    calls = ((operation, (value, 0)), (operation, (value, 1)))
    results = backend.run(differ, calls, size=size)
    assert len(set(results)) == 1
    assert operation.__name__ in results[0][1]


def differ_in_lists():
    PartialState()
    with pytest.raises((DistributedOperationException, ValueError)):
        broadcast_object_list([here.rank] * (here.rank + 1))
    still_usable()


def test_lists_of_different_length(backend):
    backend.run(differ_in_lists, size=2)


def differ_many_times():
    PartialState()
    for _ in range(50):
        with pytest.raises(DistributedOperationException):
            barrier() if here.rank else gather(ones(2))
    still_usable()


def test_many_mismatches_in_a_row(backend):
    backend.run(differ_many_times, size=2)


def differ_in_debug_mode():
    PartialState()
    with pytest.raises(DistributedOperationException) as caught:
        gather(ones(here.rank + 1))
    return str(caught.value)


def test_debug_mode_refuses_uneven_first_dimensions(backend):
    env = {"ACCELERATE_DEBUG_MODE": "true"}
    for text in backend.run(differ_in_debug_mode, size=2, env=env):
        assert "Input shapes:\n  - Process 0: [1]\n  - Process 1: [2]" in text


class Plain:
    """Its repr is an address, which differs from process to process."""


class Number(int):
    __repr__ = object.__repr__


def gather_by_keys():
    PartialState()
    # Texts' hashes, and so the order of a set of them, differ between processes.
    words = frozenset(f"{here.rank} {i}" for i in range(5))
    keys = [
        Plain(),
        words,
        Number(3),
        Colour.RED,
        (Plain(), 1),
        None,
        1.5,
        b"x",
        "\ud800",
    ]
    got = gather({key: torch.tensor([here.rank, i]) for i, key in enumerate(keys)})
    assert list(got) == keys
    expected = [[rank, i] for i in range(len(keys)) for rank in range(here.size)]
    assert torch.cat(list(got.values())).view(-1, 2).tolist() == expected
    still_usable()


def test_keys_that_look_different_on_every_rank(backend):
    backend.run(gather_by_keys, size=2)
