"""Operations that all processes do together, on nested containers and on objects."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from .. import _C, _group
from .._C import (
    DistributedOperationException,
    DistributedPeerError,
    DistributedTimeoutError,
)
from ..state import PartialState

__all__ = [
    "DistributedOperationException",
    "DistributedPeerError",
    "DistributedTimeoutError",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
]


def gather(tensor):
    """Every process' tensors or arrays, joined along the first dimension in rank order.

    `tensor` is one, or nested lists, tuples and dicts of them, and the result is built
    like it. First dimensions may differ from process to process; a tensor without
    dimensions counts as one row. Alone, the argument itself.
    """
    comm = _comm()
    if comm is None:
        return _checked(tensor, "_gpu_gather_one")
    if PartialState._shared_state["debug"]:
        _verify(comm, tensor, "gather")
    return comm.gather(tensor)


def gather_object(object: Any):
    """Every process' objects in one list, in rank order.

    Lists and tuples are put one after the other; any other object counts as one item of
    its process. Objects are pickled. Alone, a list or tuple is returned itself.
    """
    comm = _comm()
    if comm is None:
        return object if isinstance(object, (list, tuple)) else [object]
    items: list[Any] = []
    for own in comm.gather_object(object):
        if isinstance(own, (list, tuple)):
            items.extend(own)
        else:
            items.append(own)
    return items


def broadcast(tensor, from_process: int = 0):
    """Writes one process' tensors or arrays into those of all others, and returns them.

    `tensor` is one, or nested lists, tuples and dicts of them, of the same shapes and
    dtypes everywhere.
    """
    comm = _comm()
    if comm is None:
        _check_root(from_process)
        return _checked(tensor, "_gpu_broadcast_one")
    if PartialState._shared_state["debug"]:
        _verify(comm, tensor, "broadcast")
    return comm.broadcast(tensor, from_process)


def broadcast_object_list(object_list, from_process: int = 0):
    """Puts one process' objects into the lists of all others, and returns the list.

    The lists must be of one length. Objects are pickled.
    """
    comm = _comm()
    is_list = isinstance(object_list, list)
    if comm is None:
        _check_root(from_process)
    else:
        # Compared before anything travels, so that a mistake of one is an error of all.
        length = len(object_list) if is_list else -1
        try:
            received = comm.broadcast_object(object_list, from_process, length)
        except DistributedOperationException:
            if is_list:
                raise
    if not is_list:
        raise TypeError(
            f"broadcast_object_list: a {type(object_list).__name__} cannot be written "
            "into: pass a list"
        )
    if comm is not None and comm.rank != from_process:
        object_list[:] = received
    return object_list


def _comm() -> "_C.Comm | None":
    """The communicator with the others, None alone; sets the state up at first use."""
    if not PartialState._shared_state:
        PartialState()
    return _group.comm


def _check_root(from_process: int) -> None:
    """Refuses any root but this process, alone; the core checks it among others."""
    if from_process != 0:
        raise ValueError(
            f"from_process is {from_process} with 1 processes: name one from 0 to 0"
        )


def _apply(function: Callable[[Any], Any], tree, operation: str):
    """The containers of `tree`, built again around what `function` makes of leaves."""
    if isinstance(tree, (list, tuple)):
        items = [_apply(function, item, operation) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, Mapping):
        values = {k: _apply(function, v, operation) for k, v in tree.items()}
        # Every mapping in use can be made of a dict, which its base class leaves open.
        return type(tree)(values)  # type: ignore[call-arg]
    if _C.is_leaf(tree):
        return function(tree)
    raise TypeError(
        f"Unsupported types ({type(tree)}) passed to `{operation}`. Only nested "
        "list/tuple/dicts of objects that are valid for `is_torch_tensor` should be "
        "passed."
    )


def _checked(tree, operation: str):
    """The tree itself, after the look at its leaves that communicating would take."""
    _apply(lambda leaf: leaf, tree, operation)
    return tree


def _verify(comm: "_C.Comm", tree, operation: str) -> None:
    """Debug mode: refuses leaves on another device, or of other shapes elsewhere."""
    name = f"accelerate.utils.operations.{operation}"
    expected = PartialState().device.type
    devices: list[str] = []

    def shape(leaf):
        devices.append(leaf.device.type if isinstance(leaf, torch.Tensor) else "cpu")
        return list(leaf.shape)

    shapes, refused = None, None
    try:
        shapes = _apply(shape, tree, operation)
    except TypeError as error:
        refused = error
    wrong = next((device for device in devices if device != expected), None)
    said = None if refused is None else str(refused)
    reports = _group.exchange(comm, (wrong, shapes, said))
    if refused is not None:
        raise refused
    for rank, (_, _, said) in enumerate(reports):
        if said is not None:
            raise DistributedOperationException(
                f"{operation}: rank {rank} could not take part in {operation}: {said}"
            )
    for wrong, _, _ in reports:
        if wrong is not None:
            raise DistributedOperationException(
                f"One or more of the tensors passed to {name} were not on the {wrong} "
                f"while the `Accelerator` is configured for {expected}. Please move it "
                f"to the {expected} before calling {name}."
            )
    if any(shapes != reports[0][1] for _, shapes, _ in reports):
        lines = "\n  - ".join(
            f"Process {rank}: {shapes}" for rank, (_, shapes, _) in enumerate(reports)
        )
        raise DistributedOperationException(
            "Cannot apply desired operation due to shape mismatches. All shapes across "
            f"devices must be valid.\n\nOperation: `{name}`\nInput shapes:\n  - {lines}"
        )
