"""Leaves that no operation can send: one error on every rank, before anything moves."""

import warnings

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import (
    DistributedOperationException,
    broadcast,
    gather,
    pad_across_processes,
    reduce,
)
from tests.harness import here

# The operations, and what accelerate calls their functions in its text.
OPERATIONS = {
    gather: "_gpu_gather_one",
    broadcast: "_gpu_broadcast_one",
    reduce: "_reduce_across_processes",
    pad_across_processes: "_pad_across_processes",
}
OTHERS = {
    "a text": lambda: "text",
    "a number": lambda: 3,
    "nothing": lambda: None,
    "a class": lambda: torch.Tensor,
    "a set": lambda: {1},
    "a NumPy number": lambda: np.float32(1),
    "a masked array": lambda: np.ma.masked_array([1.0], [True]),
}
ODD = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse, compressed": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8),
    "meta": lambda: torch.ones(2, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(1)]),
}


def still_in_step():
    assert gather(torch.tensor([here.rank])).tolist() == list(range(here.size))


def send(operation, make, wrong):
    """The ranks of `wrong` pass the leaf, deep in a structure."""
    PartialState()
    own = torch.ones(2)
    odd = {**OTHERS, **ODD}[make]() if here.rank in wrong else torch.ones(2)
    with pytest.raises((TypeError, DistributedOperationException)) as caught:
        operation({"a": own, "b": [(odd,)]})
    assert torch.equal(own, torch.ones(2))
    still_in_step()
    # In debug mode padding tells of an error within.
    error = caught.value.__cause__ or caught.value
    return type(error).__name__, str(error)


every_operation = pytest.mark.parametrize("operation", OPERATIONS)
modes = pytest.mark.parametrize("debug", ["0", "1"])
WRONG = [[0, 1, 2], [1], [0, 2]]


@every_operation
@modes
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("make", OTHERS)
def test_other_types(backend, operation, debug, wrong, make):
    env = {"ACCELERATE_DEBUG_MODE": debug}
    results = backend.run(send, operation, make, wrong, size=3, env=env)
    expected = (
        f"Unsupported types ({type(OTHERS[make]())}) passed to "
        f"`{OPERATIONS[operation]}`. Only nested list/tuple/dicts of objects that are "
        "valid for `is_torch_tensor` should be passed."
    )
    for rank, (kind, text) in enumerate(results):
        if rank in wrong:
            assert (kind, text) == ("TypeError", expected)
        else:
            assert kind == "DistributedOperationException"
            assert f"rank {wrong[0]} could not take part in" in text
            assert "Unsupported types" in text


@every_operation
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("make", ODD)
def test_tensors_without_plain_memory(backend, operation, wrong, make):
    if operation is pad_across_processes and make == "nested":
        return  # it stays as it is: see test_pad.py, and below
    results = backend.run(send, operation, make, wrong, size=3)
    for rank, (kind, text) in enumerate(results):
        assert make.partition(",")[0] in text
        if rank in wrong:
            assert kind == "TypeError"
        else:
            assert kind == "DistributedOperationException"
            assert f"rank {wrong[0]} could not take part in" in text


@every_operation
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("make", ODD)
def test_tensors_without_plain_memory_in_debug_mode(backend, operation, wrong, make):
    """Other devices and shapes are seen first: some error, on every rank."""
    if operation is pad_across_processes and make == "nested":
        return
    env = {"ACCELERATE_DEBUG_MODE": "1"}
    assert len(backend.run(send, operation, make, wrong, size=3, env=env)) == 3


def pad_nested_on_one():
    PartialState()
    own = ODD["nested"]() if here.rank == 1 else torch.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DistributedOperationException) as caught:
            pad_across_processes([own])
    still_in_step()
    return str(caught.value)


def test_a_nested_tensor_of_one_rank_is_not_padded(backend):
    first, second = backend.run(pad_nested_on_one, size=2)
    assert first == second
