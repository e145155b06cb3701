"""`copy_tensor_to_devices` and `gather_tensor_shape`: what one process has, for all."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from pyaccel import PartialState
from pyaccel.utils.operations import (
    TENSOR_INT_TO_DTYPE,
    DistributedOperationException,
    copy_tensor_to_devices,
    gather,
    gather_tensor_shape,
)
from tests.distributed import values
from tests.distributed.values import Pair, bits, check_same, tensor
from tests.harness import every_size, here


def copy_of_each(dtype):
    PartialState()
    for shape in [(), (1,), (3, 5), (0,), (2, 0, 3), (2, 1, 300), (70_000,)]:
        for owner in range(here.size):
            own = tensor(dtype, shape, owner)
            got = copy_tensor_to_devices(own if here.rank == owner else None)
            check_same(got, own)


@every_size
@pytest.mark.parametrize("dtype", values.DTYPES)
def test_every_dtype_and_shape(backend, size, dtype):
    backend.run(copy_of_each, dtype, size=size)


def copy_containers():
    PartialState()
    made = values.containers(lambda i: tensor("int32", (i + 1, 2), i))
    made["output"] = BaseModelOutput(
        last_hidden_state=tensor("bfloat16", (2, 3), 1),
        hidden_states=(tensor("float8_e5m2", (4,), 2), tensor("bool", (), 3)),
    )
    made["other leaves"] = {
        "text": "x",
        "none": None,
        "n": [1, tensor("int8", (3,), 1)],
    }
    made["no tensors"] = Pair("a", OrderedDict(b=2))
    for name, tree in made.items():
        got = copy_tensor_to_devices(tree if here.rank == here.size - 1 else None)
        check_same(got, tree)
        assert type(got) is type(tree), name


@every_size
def test_every_container(backend, size):
    backend.run(copy_containers, size=size)


def copy_views():
    PartialState()
    for name, own in values.views(3).items():
        got = copy_tensor_to_devices(own if here.rank == 0 else None)
        assert got.shape == own.shape, name
        assert bits(got) == bits(own), name


def test_views_and_kinds_of_tensors(backend):
    backend.run(copy_views, size=2)


def copy_arrays():
    PartialState()
    own = {"array": np.arange(6.0).reshape(2, 3), "text": "x"}
    got = copy_tensor_to_devices(own if here.rank == 0 else None)
    check_same(got, own)


def test_arrays(backend):
    backend.run(copy_arrays, size=2)


def copies_are_private():
    PartialState()
    own = torch.zeros(4)
    got = copy_tensor_to_devices(own if here.rank == 1 else None)
    got.fill_(here.rank)
    gather(torch.ones(1))
    assert (got is own) == (here.rank == 1)
    return got.tolist()


def test_copies_are_private(backend):
    assert backend.run(copies_are_private, size=2) == [[0.0] * 4, [1.0] * 4]


def wrong_owners(function, owners):
    PartialState()
    own = torch.ones(2) if here.rank in owners else None
    with pytest.raises(DistributedOperationException) as caught:
        function(own)
    assert gather(torch.ones(2)).shape[0] == 2 * here.size
    return str(caught.value)


@pytest.mark.parametrize("function", [copy_tensor_to_devices, gather_tensor_shape])
@pytest.mark.parametrize("owners", [[], [0, 2], [0, 1, 2]])
def test_exactly_one_process_has_it(backend, function, owners):
    texts = backend.run(wrong_owners, function, owners, size=3)
    assert len(set(texts)) == 1
    said = f"ranks {owners}" if owners else "nobody"
    assert texts[0].startswith(f"{function.__name__}: {said} passed a tensor")


def copy_refused(make):
    """The owner's mistake is an error of all."""
    PartialState()
    kind = TypeError if here.rank == 1 else DistributedOperationException
    with pytest.raises(kind) as caught:
        copy_tensor_to_devices(REFUSED[make]() if here.rank == 1 else None)
    assert gather(torch.ones(2)).shape[0] == 2 * here.size
    return str(caught.value)


REFUSED = {
    "sparse": lambda: {"a": torch.eye(3).to_sparse()},
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8),
    "nested": lambda: [torch.nested.nested_tensor([torch.ones(1)])],
    "meta": lambda: torch.ones(2, device="meta"),
}


@pytest.mark.parametrize("make", REFUSED)
def test_tensors_without_plain_memory_are_refused(backend, make):
    texts = backend.run(copy_refused, make, size=2)
    assert make in texts[1]
    assert "rank 1 could not take part" in texts[0]
    assert make in texts[0]


def shapes_of_each():
    PartialState()
    for dtype in TENSOR_INT_TO_DTYPE.values():
        for shape in [(), (3,), (2, 0, 5), (1,) * 7]:
            own = torch.empty(shape, dtype=dtype) if here.rank == 0 else None
            got, number = gather_tensor_shape(own)
            assert got.dtype == torch.int32
            assert got.tolist() == [[length] for length in shape]
            assert TENSOR_INT_TO_DTYPE[number] == dtype


@every_size
def test_shapes(backend, size):
    backend.run(shapes_of_each, size=size)


def shape_without_number():
    PartialState()
    own = torch.empty(2, dtype=torch.complex64) if here.rank == 0 else None
    with pytest.raises((ValueError, DistributedOperationException), match="complex64"):
        gather_tensor_shape(own)
    assert gather(torch.ones(2)).shape[0] == 2 * here.size


def test_a_dtype_without_a_number(backend):
    backend.run(shape_without_number, size=2)
