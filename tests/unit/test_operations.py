"""Operations in a process that works alone, and what all of them refuse."""

import multiprocessing
from collections import namedtuple

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils import broadcast, broadcast_object_list, gather, gather_object
from pyaccel.utils.operations import (
    DistributedOperationException,
    DistributedPeerError,
    DistributedTimeoutError,
    pad_across_processes,
    recursively_apply,
    reduce,
)

pytestmark = pytest.mark.usefixtures("alone")

Pair = namedtuple("Pair", "a b")
MASKED = np.ma.masked_array([1.0, 2.0], [True, False])


def test_operations_set_the_state_up():
    assert PartialState._shared_state == {}
    gather(torch.ones(1))
    assert PartialState().initialized


@pytest.mark.parametrize("operation", [gather, broadcast])
@pytest.mark.parametrize(
    "tree",
    [
        torch.ones(2, 3),
        torch.tensor(1.0),
        np.ones(3),
        [torch.ones(1), (np.zeros(0),)],
        {"a": torch.ones(1), "b": Pair(torch.ones(2), [])},
    ],
)
def test_tensors_come_back_as_they_are(operation, tree):
    assert operation(tree) is tree


@pytest.mark.parametrize("operation", [gather, broadcast])
@pytest.mark.parametrize(
    "leaf", ["text", 1, None, object(), np.float32, np.float64(1), MASKED]
)
def test_what_is_no_tensor_is_refused(operation, leaf):
    with pytest.raises(TypeError, match=r"Unsupported types \(<class "):
        operation({"a": [torch.ones(1), leaf]})


def test_objects():
    items = ["a", 1]
    assert gather_object(items) is items
    assert gather_object(("a",)) == ("a",)
    assert gather_object("ab") == ["ab"]
    assert gather_object({"k": 1}) == [{"k": 1}]
    assert gather_object(None) == [None]


def test_lists_of_objects():
    items = ["a", 1]
    assert broadcast_object_list(items) is items
    with pytest.raises(TypeError, match="a tuple cannot be written into"):
        broadcast_object_list(("a",))


@pytest.mark.parametrize("operation", [broadcast, broadcast_object_list])
@pytest.mark.parametrize("root", [-1, 1])
def test_a_process_that_is_not_there(operation, root):
    with pytest.raises(ValueError, match=f"from_process is {root} with 1 processes"):
        operation([torch.ones(1)], from_process=root)


def test_containers_are_built_again():
    tree = {"a": Pair(torch.ones(1), [np.ones(2)]), "b": ()}
    built = recursively_apply(
        lambda leaf: tuple(leaf.shape),
        tree,
        test_type=lambda leaf: isinstance(leaf, (torch.Tensor, np.ndarray)),
    )
    assert built == {"a": Pair((1,), [(2,)]), "b": ()}
    assert type(built["a"]) is Pair


def test_errors_are_kin():
    assert issubclass(DistributedTimeoutError, DistributedOperationException)
    assert issubclass(DistributedTimeoutError, TimeoutError)
    assert issubclass(DistributedPeerError, DistributedOperationException)
    assert issubclass(DistributedPeerError, ConnectionError)


def operate_in_child(queue):
    queue.put((reduce(torch.ones(2), "sum").tolist(), pad_across_processes([])))


def test_a_forked_child_works_alone_too():
    context = multiprocessing.get_context("fork")
    assert reduce(torch.ones(1)).tolist() == [1.0]
    queue = context.SimpleQueue()
    child = context.Process(target=operate_in_child, args=(queue,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert queue.get() == ([1.0, 1.0], [])
