"""`pad_across_processes`: leaves of all ranks become equally long along a dimension."""

import warnings

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import (
    CannotPadNestedTensorWarning,
    DistributedOperationException,
    gather,
    pad_across_processes,
)
from tests.distributed import values
from tests.distributed.models import padded
from tests.distributed.paths import every_path, use_path
from tests.distributed.values import array, check_same, tensor
from tests.harness import every_size, here

# What torch knows no more of than how to store it: no value fits.
NO_NUMBERS = ["float4_e2m1fn_x2", "float8_e8m0fnu"]


def longest(shapes, dim):
    return max(shape[dim] for shape in shapes)


def shape_of(rank, base, dim):
    """The base shape, in a dimension longer by another count on every rank."""
    shape = list(base)
    shape[dim] += (0, 2, 1, 5)[rank]
    return tuple(shape)


def pad_dtype(path, dtype):
    use_path(path)
    value = True if dtype == "bool" else 1
    for base in [(1,), (0,), (3, 4), (0, 3), (2, 0), (2, 3, 5)]:
        for dim in range(-len(base), len(base)):
            shapes = [shape_of(rank, base, dim) for rank in range(here.size)]
            for first in (False, True):
                own = tensor(dtype, shapes[here.rank], here.rank)
                got = pad_across_processes(own, dim, value, first)
                length = longest(shapes, dim)
                check_same(got, padded(own, dim, length, value, first))
                assert (got is own) == (own.shape[dim] == length)
                if here.size > 1 and dim in (0, -len(base)):
                    assert gather(got).shape[0] == length * here.size


@every_size
@every_path
@pytest.mark.parametrize("dtype", sorted({*values.DTYPES} - {*NO_NUMBERS}))
def test_every_dtype_and_dimension(backend, size, path, dtype):
    backend.run(pad_dtype, path, dtype, size=size)


def pad_arrays(dtype):
    PartialState()
    for dim in (0, 1, -1):
        shapes = [shape_of(rank, (2, 3), dim) for rank in range(here.size)]
        own = array(dtype, shapes[here.rank], here.rank)
        got = pad_across_processes(own, dim)
        check_same(got, padded(own, dim, longest(shapes, dim)))


@every_size
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "complex128"])
def test_arrays(backend, size, dtype):
    backend.run(pad_arrays, dtype, size=size)


def pad_views(path):
    use_path(path)
    for name, view in values.views(here.rank + 1).items():
        if view.shape[0] < here.size:
            continue
        own = view[: here.rank + 1]
        got = pad_across_processes(own)
        plain = own.detach().resolve_conj().resolve_neg()
        check_same(got.detach(), padded(plain, 0, here.size))
        if here.rank < here.size - 1:
            assert got.is_contiguous(), name
            assert not got.requires_grad, name


@pytest.mark.parametrize("size", [2, 3])
@every_path
def test_views_and_kinds_of_tensors(backend, size, path):
    backend.run(pad_views, path, size=size)


def pad_containers():
    PartialState()

    def tree(rank):
        return values.containers(lambda i: torch.full((rank + 1, i + 1), i))

    def leaf(i):
        return padded(torch.full((here.rank + 1, i + 1), i), 0, here.size, 9)

    expected = values.containers(leaf)
    for name, own in tree(here.rank).items():
        check_same(pad_across_processes(own, pad_index=9), expected[name])


@every_size
def test_every_container(backend, size):
    backend.run(pad_containers, size=size)


def pad_many():
    """More lengths than go with a card."""
    PartialState()
    for count in (22, 23, 1000):
        own = [torch.ones(i % 5 + (here.rank + i) % here.size) for i in range(count)]
        for i, leaf in enumerate(pad_across_processes(own)):
            check_same(leaf, padded(own[i], 0, i % 5 + here.size - 1))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_many_leaves(backend, size):
    backend.run(pad_many, size=size)


def pad_mixed():
    """Other dimensions may differ, and so may dtypes: only lengths are compared."""
    PartialState()
    rows = here.rank + 1
    own = {
        "long": torch.ones(rows, 2 * rows),
        "0-dim": torch.tensor(3),
        "one dimension": np.arange(rows),
        "dtype": torch.ones(rows, 1, dtype=[torch.int8, torch.float32][here.rank]),
        "large": torch.ones(rows, 300_000),
    }
    got = pad_across_processes(own, dim=1)
    shapes = {key: list(leaf.shape) for key, leaf in got.items()}
    assert shapes == {
        "long": [rows, 4],
        "0-dim": [],
        "one dimension": [rows],
        "dtype": [rows, 1],
        "large": [rows, 300_000],
    }
    assert [got[key] is own[key] for key in own] == [rows == 2, *[True] * 4]
    assert got["long"].sum().item() == 2 * rows * rows


def test_dimensions_that_some_leaves_lack(backend):
    backend.run(pad_mixed, size=2)


def pad_out_of_range(dim):
    PartialState()
    own = [torch.ones(here.rank, 2), torch.tensor(1.0)]
    got = pad_across_processes(own, dim)
    assert [a is b for a, b in zip(got, own, strict=True)] == [True, True]


@every_size
@pytest.mark.parametrize("dim", [2, -3, 2**40, -(2**40)])
def test_a_dimension_out_of_range_changes_nothing(backend, size, dim):
    backend.run(pad_out_of_range, dim, size=size)


def pad_nested():
    PartialState()
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    own = [nested, torch.ones(here.rank + 1)]
    with pytest.warns(CannotPadNestedTensorWarning, match="Leaving unprocessed"):
        got = pad_across_processes(own)
    assert got[0] is nested
    assert got[1].shape == (here.size,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CannotPadNestedTensorWarning):
            pad_across_processes(own)
    assert gather(torch.ones(2)).shape[0] == 2 * here.size


@pytest.mark.parametrize("size", [2, 3])
def test_nested_tensors_stay_and_are_told_of(backend, size):
    backend.run(pad_nested, size=size)


FITTING = [
    ("uint8", 255),
    ("uint8", 255.0),
    ("int8", -128),
    ("int64", -(2**63)),
    ("uint64", 2**64 - 1),
    ("bool", 1),
    ("bool", False),
    ("int32", -100),
    ("int32", np.int64(7)),
    ("float32", -100),
    ("float32", 0.1),
    ("float32", float("nan")),
    ("float16", float("-inf")),
    ("bfloat16", 0.5),
    ("float8_e4m3fn", 448),
    ("float8_e5m2", -2),
    ("complex64", 1 + 2j),
    ("complex64", 3),
    ("float32", torch.tensor(2.5)),
    ("int64", torch.tensor(4)),
]


def pad_with(index):
    PartialState()
    dtype, value = FITTING[index]
    own = tensor(dtype, (here.rank + 1, 2), 0)
    got = pad_across_processes(own, pad_index=value)
    plain = value.item() if isinstance(value, (torch.Tensor, np.generic)) else value
    check_same(got, padded(own, 0, here.size, plain))


@pytest.mark.parametrize("index", range(len(FITTING)), ids=map(str, FITTING))
def test_values_that_fit(backend, index):
    backend.run(pad_with, index, size=2)


UNFIT = [
    ("uint8", -1),
    ("uint8", 256),
    ("int8", 128),
    ("int64", 2**63),
    ("uint64", 2**64),
    ("uint64", -1),
    ("int64", 2**200),
    ("int32", 0.5),
    ("int32", float("nan")),
    ("bool", 2),
    ("bool", -1),
    ("float16", 1e6),
    ("float32", 1e300),
    ("float8_e4m3fn", 500),
    ("float8_e4m3fn", float("inf")),
    ("float32", 1j),
    *((dtype, 0) for dtype in NO_NUMBERS),
]


def pad_with_unfit(index, wrong):
    """The ranks of `wrong` pass the value, though they may be the longest."""
    PartialState()
    dtype, value = UNFIT[index]
    own = tensor(dtype, (here.size - here.rank,), 0)
    if here.rank in wrong:
        with pytest.raises(ValueError, match=r"^pad_across_processes: pad_index is "):
            pad_across_processes(own, pad_index=value)
    else:
        with pytest.raises(DistributedOperationException, match="rank 0 could not"):
            pad_across_processes(torch.ones(1))
    assert gather(torch.ones(2)).shape[0] == 2 * here.size


@pytest.mark.parametrize("wrong", [[0, 1], [0]])
@pytest.mark.parametrize("index", range(len(UNFIT)), ids=map(str, UNFIT))
def test_values_that_do_not_fit(backend, index, wrong):
    backend.run(pad_with_unfit, index, wrong, size=2)


WRONG = {
    "a text as value": ({"pad_index": "0"}, TypeError, "pad_index must be a number"),
    "a text as dimension": ({"dim": "0"}, TypeError, "dim"),
    "a fraction as dimension": ({"dim": 0.5}, TypeError, "dim"),
    "no leaf": ({"tensor": ["x"]}, TypeError, "Unsupported types"),
    "a sparse leaf": ({"tensor": [torch.eye(2).to_sparse()]}, TypeError, "sparse"),
}


def pad_wrongly(case, wrong):
    PartialState()
    arguments, kind, text = WRONG[case]
    if here.rank in wrong:
        with pytest.raises(kind, match=text):
            pad_across_processes(**{"tensor": [torch.ones(1)], **arguments})
    else:
        with pytest.raises(DistributedOperationException, match=f"rank {wrong[0]} "):
            pad_across_processes([torch.ones(1)])
    assert gather(torch.ones(2)).shape[0] == 2 * here.size


@pytest.mark.parametrize("wrong", [[0, 1, 2], [2]])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(backend, case, wrong):
    backend.run(pad_wrongly, case, wrong, size=3)


DIFFERENT = {
    "dimensions": ((torch.ones(2, 2), 0), (torch.ones(2, 2), 1)),
    "numbers of dimensions": ((torch.ones(2), 0), (torch.ones(2, 2), 0)),
    "leaves": (([torch.ones(2)], 0), ([torch.ones(2)] * 2, 0)),
    "keys": (({"a": torch.ones(2)}, 0), ({"b": torch.ones(2)}, 0)),
}


def pad_differently(case):
    PartialState()
    with pytest.raises(DistributedOperationException) as caught:
        pad_across_processes(*DIFFERENT[case][here.rank == here.size - 1])
    assert gather(torch.ones(2)).shape[0] == 2 * here.size
    return str(caught.value)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", DIFFERENT)
def test_calls_that_differ(backend, size, case):
    texts = backend.run(pad_differently, case, size=size)
    assert len(set(texts)) == 1
    assert f"rank {size - 1}" in texts[0]


def pad_at_debug():
    PartialState()
    # Lengths may differ: that is what padding is for.
    assert pad_across_processes(torch.ones(here.rank + 1)).shape == (here.size,)
    with pytest.raises(DistributedOperationException) as caught:
        pad_across_processes(torch.ones([2] * (here.rank + 1)))
    return str(caught.value), str(caught.value.__cause__)


@pytest.mark.parametrize("size", [2, 3])
def test_debug_mode_chains_its_error(backend, size):
    env = {"ACCELERATE_DEBUG_MODE": "true"}
    shapes = "".join(f"\n  - Process {rank}: [1, {rank + 1}]" for rank in range(size))
    for text, cause in backend.run(pad_at_debug, size=size, env=env):
        assert text == (
            "Error found while calling "
            "`accelerate.utils.operations.pad_across_processes`. "
            "Please see the earlier error for more details."
        )
        assert cause == (
            "Cannot apply desired operation due to shape mismatches. All shapes across "
            "devices must be valid.\n\nOperation: `accelerate.utils.operations.gather`"
            "\nInput shapes:" + shapes
        )
