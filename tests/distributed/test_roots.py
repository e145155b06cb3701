"""`gather` and `gather_object` to one process, which alone gets the result."""

import gc
import weakref

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import (
    DistributedOperationException,
    gather,
    gather_object,
)
from tests.distributed import values
from tests.distributed.values import array, check_same, joined, tensor
from tests.harness import every_size, here

LENGTHS = (0, 1, 50, 5_000, 300_000)


def gather_to_each():
    PartialState()
    for root in range(here.size):
        for dtype, most in (("uint8", 3 << 20), ("complex64", 7)):
            for length in (*LENGTHS, most):
                rows = [length + rank for rank in range(here.size)]
                parts = [tensor(dtype, (n,), n) for n in rows]
                got = gather(parts[here.rank], dst=root)
                if here.rank != root:
                    assert got is None
                elif here.size == 1:
                    assert got is parts[0]
                else:
                    check_same(got, joined(parts))


@every_size
def test_one_rank_gets_all_tensors(backend, size):
    backend.run(gather_to_each, size=size)


def gather_trees_to_last():
    PartialState()

    def tree(rank):
        made = values.containers(lambda i: tensor("int16", (i + rank, 2), rank + i))
        return {
            **made,
            "array": [array("float32", (rank, 3), rank), torch.tensor(rank)],
        }

    trees = [tree(rank) for rank in range(here.size)]
    for name, own in trees[here.rank].items():
        everywhere, got = gather(own), gather(own, dst=here.size - 1)
        if here.rank == here.size - 1:
            check_same(got, everywhere)
        else:
            assert got is None, name


@every_size
def test_whole_structures(backend, size):
    backend.run(gather_trees_to_last, size=size)


class Thing:
    """What a pickle makes again."""


def gather_objects_to_each():
    PartialState()
    for root in range(here.size):
        for length in (0, 10, 100_000):
            own = [here.rank, np.arange(length), "x" * length, torch.ones(length)]
            got = gather_object(own, dst=root)
            if here.rank != root:
                assert got is None
                continue
            assert len(got) == 4 * here.size
            for rank in range(here.size):
                number, numbers, text, ones = got[4 * rank : 4 * rank + 4]
                assert (number, text) == (rank, "x" * length)
                assert numbers.tolist() == list(range(length))
                assert ones.shape == (length,)
    got = gather_object({"rank": here.rank}, dst=0)
    expected = [{"rank": rank} for rank in range(here.size)]
    assert got == (None if here.rank else expected)


@every_size
def test_one_rank_gets_all_objects(backend, size):
    backend.run(gather_objects_to_each, size=size)


def nothing_is_kept():
    """What was sent away is let go of as soon as the call returns."""
    PartialState()
    own = torch.ones(1 << 20)
    died = weakref.ref(own)
    thing = Thing()
    thing_died = weakref.ref(thing)
    gather(own, dst=0)
    gather_object([thing], dst=0)
    del own, thing
    gc.collect()
    return died() is None and thing_died() is None


def test_nothing_is_kept(backend):
    assert backend.run(nothing_is_kept, size=2) == [True, True]


ABSENT = [-1, 3, 2**31, 2**40]


def absent_root(operation, root, wrong):
    PartialState()
    own = [torch.ones(1)]
    if here.rank in wrong:
        with pytest.raises(ValueError, match=rf"dst is {root} with 3 processes"):
            operation(own, dst=root)
    else:
        with pytest.raises(DistributedOperationException, match=f"rank {wrong[0]} "):
            operation(own, dst=0)
    assert gather_object([here.rank]) == list(range(here.size))


@pytest.mark.parametrize("operation", [gather, gather_object])
@pytest.mark.parametrize("root", ABSENT)
@pytest.mark.parametrize("wrong", [[0, 1, 2], [1]])
def test_a_root_that_is_not_there(backend, operation, root, wrong):
    backend.run(absent_root, operation, root, wrong, size=3)


def odd_root(operation, root):
    PartialState()
    with pytest.raises(TypeError, match="dst"):
        operation([torch.ones(1)], dst=root)
    assert gather_object([here.rank]) == list(range(here.size))


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("operation", [gather, gather_object])
@pytest.mark.parametrize("root", ["0", 0.0, [0]])
def test_a_root_that_is_no_number(backend, size, operation, root):
    backend.run(odd_root, operation, root, size=size)


def different_roots(operation, roots):
    PartialState()
    with pytest.raises(DistributedOperationException) as caught:
        operation([torch.ones(1)], dst=roots[here.rank])
    assert gather_object([here.rank]) == list(range(here.size))
    return str(caught.value)


@pytest.mark.parametrize("operation", [gather, gather_object])
@pytest.mark.parametrize("roots", [[0, 1], [None, 0], [1, None]])
def test_roots_that_differ(backend, operation, roots):
    first, second = backend.run(different_roots, operation, roots, size=2)
    assert first == second
    for rank, root in enumerate(roots):
        line = next(x for x in first.splitlines() if f"- rank {rank}" in x)
        assert ("rank" in line.partition(":")[2]) == (root is not None), first


def debug_root():
    PartialState()
    got = gather(torch.full((1,), here.rank), dst=1)
    with pytest.raises(DistributedOperationException, match="Input shapes"):
        gather(torch.ones(here.rank + 1), dst=1)
    return None if got is None else got.tolist()


def test_debug_mode(backend):
    got = backend.run(debug_root, size=2, env={"ACCELERATE_DEBUG_MODE": "true"})
    assert got == [None, [0, 1]]
