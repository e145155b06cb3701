"""`reduce`: one leaf a rank becomes the sum, mean, max or min on every rank."""

import hashlib

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import DistributedOperationException, gather, reduce
from tests.distributed import values
from tests.distributed.models import reduced, refused
from tests.distributed.paths import every_path, use_path
from tests.distributed.values import array, check_same, same_numbers, tensor
from tests.harness import every_size, here

REDUCTIONS = ["sum", "mean", "max", "min"]
# What torch knows no more of than how to store it.
NO_NUMBERS = ["float4_e2m1fn_x2", "float8_e8m0fnu"]
NUMBERS = [name for name in values.DTYPES if name not in NO_NUMBERS]
SHAPES = [(), (1,), (3, 5), (0,), (0, 3), (2, 1, 300), (1000,)]


def reduce_dtype(path, dtype):
    use_path(path)
    digest = hashlib.sha256()
    for reduction in REDUCTIONS:
        if refused(getattr(torch, dtype), reduction):
            continue
        for shape in SHAPES:
            parts = [tensor(dtype, shape, rank) for rank in range(here.size)]
            own = parts[here.rank].clone()
            got = reduce(own, reduction)
            same_numbers(got, reduced(parts, reduction))
            check_same(own, parts[here.rank])
            assert got.data_ptr() != own.data_ptr() or got.numel() == 0
            digest.update(values.bits(got))
    return digest.hexdigest()


@every_size
@every_path
@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_dtype(backend, size, path, dtype):
    # Not only equal numbers: the same bits everywhere.
    assert len(set(backend.run(reduce_dtype, path, dtype, size=size))) == 1


def reduce_refused(dtype):
    PartialState()
    own = tensor(dtype, (3,), here.rank)
    for reduction in REDUCTIONS:
        if dtype in NO_NUMBERS or refused(own.dtype, reduction):
            with pytest.raises(ValueError, match="^reduce: "):
                reduce(own, reduction)
    check_same(reduce(own, "none"), own)
    assert gather(torch.ones(1)).shape == ((here.size,) if here.size > 1 else (1,))


@every_size
@pytest.mark.parametrize("dtype", values.DTYPES)
def test_what_means_nothing_is_refused(backend, size, dtype):
    backend.run(reduce_refused, dtype, size=size)


def reduce_arrays(dtype):
    PartialState()
    for shape in [(), (1,), (3, 5), (0, 3), (20_000,)]:
        parts = [array(dtype, shape, rank) for rank in range(here.size)]
        total = parts[0]
        for part in parts[1:]:
            total = total | part if dtype == "bool" else total + part
        check_same(reduce(parts[here.rank], "sum"), np.asarray(total, dtype))


@every_size
@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"),
        *("uint64", "float16", "float32", "float64", "complex64", "complex128"),
    ],
)
def test_every_numpy_dtype(backend, size, dtype):
    backend.run(reduce_arrays, dtype, size=size)


def reduce_other_arrays(dtype):
    PartialState()
    own = array(dtype, (3,), here.rank)
    with pytest.raises((TypeError, ValueError)):
        reduce(own, "sum")
    assert len(gather(torch.ones(2))) == 2 * here.size


@pytest.mark.parametrize("dtype", ["longdouble", "clongdouble", "S5", "U3", ">i4"])
def test_arrays_without_numbers_of_the_machine(backend, dtype):
    backend.run(reduce_other_arrays, dtype, size=2)


def reduce_views(path):
    use_path(path)
    parts = [values.views(rank + 1) for rank in range(here.size)]
    for name, own in parts[here.rank].items():
        got = reduce(own, "mean")
        assert not got.requires_grad, name
        assert type(got) is torch.Tensor, name
        plain = [part[name].detach().resolve_conj().resolve_neg() for part in parts]
        same_numbers(got, reduced([part.contiguous() for part in plain], "mean"))


@every_size
@every_path
def test_views_and_kinds_of_tensors(backend, size, path):
    backend.run(reduce_views, path, size=size)


def reduce_containers():
    PartialState()

    def tree(rank):
        return values.containers(lambda i: torch.full((i + 1, 2), rank * 10 + i))

    def total(i):
        return torch.full((i + 1, 2), sum(r * 10 + i for r in range(here.size)))

    trees, expected = tree(here.rank), values.containers(total)
    for name, own in trees.items():
        check_same(reduce(own, "sum"), expected[name])


@every_size
def test_every_container(backend, size):
    backend.run(reduce_containers, size=size)


def reduce_many():
    """Leaves of sizes that do not divide each other, so that all cuts are odd."""
    PartialState()
    dtypes = ["float32", "int8", "bfloat16", "complex128", "bool", "int16", "float64"]
    parts = [
        {i: tensor(dtypes[i % 7], (i * 13 % 997,), rank + i) for i in range(300)}
        for rank in range(here.size)
    ]
    got = reduce(parts[here.rank], "sum")
    for i, leaf in got.items():
        same_numbers(leaf, reduced([part[i] for part in parts], "sum"))
    return hashlib.sha256(b"".join(map(values.bits, got.values()))).hexdigest()


@every_size
def test_many_and_mixed_leaves(backend, size):
    assert len(set(backend.run(reduce_many, size=size))) == 1


KIB, MIB = 1 << 10, 1 << 20
COUNTS = [1, 51, 52, 53, 1023, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, MIB + 7, 5 * MIB]


def reduce_lengths():
    PartialState()
    digest = hashlib.sha256()
    for count in COUNTS:
        parts = [
            torch.arange(count, dtype=torch.float32) / (rank + 3)
            for rank in range(here.size)
        ]
        got = reduce(parts[here.rank])
        same_numbers(got, reduced(parts, "mean"))
        digest.update(values.bits(got))
    return digest.hexdigest()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_payloads_around_every_threshold(backend, size):
    assert len(set(backend.run(reduce_lengths, size=size))) == 1


def reduce_scaled(path):
    use_path(path)
    for dtype in ("float16", "bfloat16", "float32", "float64", "complex64"):
        parts = [
            torch.arange(1000).to(getattr(torch, dtype)) * (rank + 1)
            for rank in range(here.size)
        ]
        for reduction in ("sum", "mean"):
            got = reduce(parts[here.rank], reduction, 0.1)
            same_numbers(got, reduced(parts, reduction, 0.1))
        kept = reduce(parts[here.rank], "none", scale=2)
        same_numbers(kept, parts[here.rank] * 2)


@every_size
@every_path
def test_scale(backend, size, path):
    backend.run(reduce_scaled, path, size=size)


def reduce_none():
    PartialState()
    own = torch.full((here.rank + 1,), here.rank)
    # Nothing is combined, but it is an operation of all, in step with the others.
    with pytest.raises(DistributedOperationException):
        reduce(own, "none")
    same = torch.full((2,), here.rank)
    got = reduce([same], "none")[0]
    assert torch.equal(got, same)
    assert got.data_ptr() != same.data_ptr()


def test_none_keeps_what_each_rank_has(backend):
    backend.run(reduce_none, size=2)


def in_default():
    PartialState()
    return reduce(torch.tensor([1.0, here.rank])).tolist()


@every_size
def test_the_default_is_the_mean(backend, size):
    mean = sum(range(size)) / size
    assert backend.run(in_default, size=size) == [[1.0, mean]] * size


WRONG = {
    "an unknown reduction": ({"reduction": "avg"}, ValueError, "'avg'"),
    "an object": ({"reduction": None}, ValueError, "None"),
    "a mean of integers": ({"reduction": "mean"}, ValueError, "mean of int64"),
    "a scaled integer": ({"reduction": "sum", "scale": 0.5}, ValueError, "scale is"),
    "a text as scale": ({"reduction": "sum", "scale": "2"}, TypeError, "scale must"),
}


def reduce_wrongly(case, wrong_ranks):
    PartialState()
    arguments, kind, text = WRONG[case]
    own = torch.arange(3)
    if here.rank in wrong_ranks:
        with pytest.raises(kind, match=text):
            reduce(own, **arguments)
    else:
        with pytest.raises(DistributedOperationException) as caught:
            reduce(own, "sum")
        assert f"rank {wrong_ranks[0]}" in str(caught.value)
    assert reduce(own, "sum").tolist() == (own * here.size).tolist()


@pytest.mark.parametrize("wrong_ranks", [[0, 1, 2], [1]])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(backend, case, wrong_ranks):
    backend.run(reduce_wrongly, case, wrong_ranks, size=3)


DIFFERENT = {
    "reductions": ((torch.ones(2), "sum"), (torch.ones(2), "max")),
    "scales": ((torch.ones(2), "sum", 1.0), (torch.ones(2), "sum", 2.0)),
    "first dimensions": ((torch.ones(2), "sum"), (torch.ones(3), "sum")),
    "dtypes": ((torch.ones(2), "sum"), (torch.ones(2, dtype=torch.int32), "sum")),
    "leaves": (([torch.ones(2)], "sum"), ([torch.ones(2)] * 2, "sum")),
    "large leaves": ((torch.ones(MIB), "sum"), (torch.ones(2 * MIB), "sum")),
}


def reduce_differently(case):
    PartialState()
    arguments = DIFFERENT[case][here.rank == here.size - 1]
    with pytest.raises(DistributedOperationException) as caught:
        reduce(*arguments)
    assert reduce(torch.ones(2), "sum").tolist() == [here.size] * 2
    return str(caught.value)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", DIFFERENT)
def test_calls_that_differ(backend, size, case):
    texts = backend.run(reduce_differently, case, size=size)
    assert len(set(texts)) == 1
    assert f"rank {size - 1}" in texts[0]
