"""`gather_object` and `broadcast_object_list`: anything that can be pickled."""

import array as arrays
import datetime
import pickle
import threading
from decimal import Decimal

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import (
    DistributedOperationException,
    broadcast_object_list,
    gather_object,
)
from tests.distributed.values import Pair, array, bits, check_same, tensor
from tests.harness import every_size, here

KIB, MIB = 1 << 10, 1 << 20


class Custom:
    """A class of a test module, compared by what it holds."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return type(other) is Custom and self.value == other.value

    def __hash__(self):
        return hash(self.value)


def plain_objects(rank):
    return [
        None,
        rank,
        -(10**30),
        1.5,
        True,
        "",
        "é€😀" * rank,
        b"bytes",
        bytearray(b"array"),
        {1, 2, rank},
        frozenset("ab"),
        {"a": 1, "b": "x", "rank": rank, (1, 2): [3]},
        (1, (2, [3])),
        Pair(1, rank),
        Custom((rank, "x")),
        range(5, 50, 5),
        Decimal("1.5"),
        datetime.date(2026, 11, 21),
        ValueError("not raised").args,
        int,
        Custom,
        torch.float16,
        torch.Size([1, 2]),
        np.dtype("float32"),
        ...,
    ]


def gather_plain_objects():
    PartialState()
    got = gather_object(plain_objects(here.rank))
    assert got == [item for rank in range(here.size) for item in plain_objects(rank)]


@every_size
def test_plain_objects(backend, size):
    backend.run(gather_plain_objects, size=size)


def test_eight_ranks(backend):
    backend.run(gather_plain_objects, size=8)


def gather_uneven_lists():
    PartialState()
    own = [here.rank] * here.rank
    expected = [rank for rank in range(here.size) for _ in range(rank)]
    assert gather_object(own) == expected
    assert list(gather_object(tuple(own))) == expected


@every_size
def test_lists_and_tuples_are_concatenated(backend, size):
    backend.run(gather_uneven_lists, size=size)


def gather_single_objects():
    PartialState()
    for make in (str, lambda rank: {"rank": rank}, lambda rank: {rank}, Custom):
        expected = [make(rank) for rank in range(here.size)]
        assert gather_object(make(here.rank)) == expected


@every_size
def test_anything_else_is_one_item_of_its_rank(backend, size):
    backend.run(gather_single_objects, size=size)


def big_objects(rank, count):
    return [
        np.full(count, rank, dtype=np.uint8),
        torch.full((count,), rank, dtype=torch.uint8),
        bytes([rank]) * count,
        bytearray([rank]) * count,
        arrays.array("B", bytes([rank]) * count),
        "x" * count,
    ]


def gather_big_objects(count):
    PartialState()
    got = gather_object(big_objects(here.rank, count))
    expected = [x for rank in range(here.size) for x in big_objects(rank, count)]
    check_same(got, expected)


@every_size
@pytest.mark.parametrize(
    "count", [0, 1, 100, 208, 4 * KIB, 128 * KIB - 1, 128 * KIB, MIB - 1, MIB, MIB + 1]
)
def test_buffers_of_every_size(backend, size, count):
    backend.run(gather_big_objects, count, size=size)


def gather_one_large():
    PartialState()
    got = gather_object([np.full(40 * MIB, here.rank, dtype=np.uint8)])
    for rank, value in enumerate(got):
        assert value.shape == (40 * MIB,)
        assert (value == rank).all()


def test_large_arrays(backend):
    backend.run(gather_one_large, size=2)


def gather_many_buffers():
    PartialState()

    def make(rank):
        return [array("int16", (i * 37 % 5000,), rank + i) for i in range(500)]

    expected = [item for rank in range(here.size) for item in make(rank)]
    check_same(gather_object(make(here.rank)), expected)


@every_size
def test_many_buffers(backend, size):
    backend.run(gather_many_buffers, size=size)


def kinds_of_tensors(rank):
    numbers = tensor("float32", (6, 4), rank)
    pairs = torch.view_as_complex(numbers.contiguous().reshape(-1, 2))
    return {
        "plain": numbers,
        "0-dim": torch.tensor(rank),
        "empty": torch.ones(0, 3),
        "transposed": numbers.t(),
        "expanded": numbers[:1].expand(5, 4),
        "bfloat16": tensor("bfloat16", (3,), rank),
        "float8": tensor("float8_e4m3fn", (3,), rank),
        "bool": tensor("bool", (70,), rank),
        "one of many": numbers.reshape(-1)[::2][:1],
        "bfloat16 transposed": tensor("bfloat16", (3, 2), rank).t(),
        "conjugate": pairs.conj(),
        "needs grad": torch.ones(2, requires_grad=True),
        "Parameter": torch.nn.Parameter(torch.ones(2) * rank),
        "large": tensor("uint8", (MIB + 5,), rank),
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "objects": np.array([None, rank, "x"], dtype=object),
        "records": np.array([(rank, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    }


def gather_kinds_of_tensors():
    PartialState()
    for rank, got in enumerate(gather_object([kinds_of_tensors(here.rank)])):
        for name, expected in kinds_of_tensors(rank).items():
            value = got[name]
            assert type(value) is type(expected), name
            assert value.dtype == expected.dtype, name
            assert value.shape == expected.shape, name
            if name != "objects":
                assert bits(value) == bits(expected), name
            if isinstance(value, torch.Tensor):
                assert value.requires_grad == expected.requires_grad, name
                # The order of dimensions in memory travels too, as in torch's pickles.
                if name != "expanded":
                    assert value.stride() == expected.stride(), name
    shared = torch.ones(3)
    for first, second in gather_object([(shared, shared)]):
        assert first is second


@every_size
def test_tensors_and_arrays_in_objects(backend, size):
    backend.run(gather_kinds_of_tensors, size=size)


def write_into_results():
    PartialState()
    for count in (10, 300, 200_000, 2 * MIB):
        got = gather_object(
            [np.full(count, here.rank, np.uint8), torch.full((count,), here.rank)]
        )
        for index, value in enumerate(got):
            assert (value == index // 2).all()
            value[:] = 77
        again = gather_object([here.rank])
        assert again == list(range(here.size))
        assert all((value == 77).all() for value in got)


@every_size
def test_results_are_private_and_writable(backend, size):
    backend.run(write_into_results, size=size)


def broadcast_lists():
    PartialState()
    for root in range(here.size):
        own = plain_objects(here.rank)
        got = broadcast_object_list(own, from_process=root)
        assert got is own
        assert got == plain_objects(root)
    own = [kinds_of_tensors(here.rank)]
    broadcast_object_list(own)
    for name, expected in kinds_of_tensors(0).items():
        if name != "objects":
            assert bits(own[0][name]) == bits(expected), name


@every_size
def test_broadcast_object_list(backend, size):
    backend.run(broadcast_lists, size=size)


def broadcast_big_lists(count):
    PartialState()
    own = big_objects(here.rank, count)
    broadcast_object_list(own, from_process=here.size - 1)
    check_same(own, big_objects(here.size - 1, count))


@every_size
@pytest.mark.parametrize("count", [0, 100, 128 * KIB, MIB + 1, 8 * MIB])
def test_broadcast_of_buffers_of_every_size(backend, size, count):
    backend.run(broadcast_big_lists, count, size=size)


def gather_unpicklable(operation):
    PartialState()
    if here.rank == 1:
        # Ours raises what pickle raises, for the object that it is.
        with pytest.raises((TypeError, pickle.PicklingError), match="lock"):
            operation([threading.Lock()])
    else:
        with pytest.raises(DistributedOperationException, match="rank 1"):
            operation(["fine"])
    assert gather_object([here.rank]) == list(range(here.size))


def broadcast_from_one(items):
    return broadcast_object_list(items, from_process=1)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("operation", [gather_object, broadcast_from_one])
def test_an_object_that_cannot_be_pickled(backend, size, operation):
    backend.run(gather_unpicklable, operation, size=size)


class FailsToLoad:
    """Pickled in any rank, but rebuilt only in the rank that made it."""

    def __reduce__(self):
        return fail_elsewhere, (here.rank,)


def fail_elsewhere(rank):
    if rank != here.rank:
        raise ArithmeticError(f"made in rank {rank}")
    return "loaded"


def gather_unloadable():
    PartialState()
    with pytest.raises(ArithmeticError, match="made in rank"):
        gather_object([FailsToLoad()])
    assert gather_object([here.rank]) == list(range(here.size))


def test_an_object_that_cannot_be_loaded(backend):
    backend.run(gather_unloadable, size=3)


def gather_recursive():
    PartialState()
    own = [here.rank]
    own.append(own)
    for rank, got in enumerate(gather_object([own])):
        assert got[0] == rank
        assert got[1] is got


def test_an_object_that_holds_itself(backend):
    backend.run(gather_recursive, size=2)


class Nests:
    """Gathers again while it is being pickled, which no rank can take part in."""

    def __reduce__(self):
        gather_object(["inner"])
        return str, ("outer",)


def gather_while_gathering():
    PartialState()
    if here.rank == 0:
        with pytest.raises(Exception, match=r"gather_object|in use|while"):
            gather_object([Nests()])
    else:
        with pytest.raises(DistributedOperationException):
            gather_object(["plain"])


def test_an_operation_inside_an_operation(backend):
    backend.run(gather_while_gathering, size=2, own_group=True)
