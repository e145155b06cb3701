"""Operations that all processes do together, on nested containers and on objects.

A nested structure is a tensor or array, or lists, tuples and dicts of them; whatever
its number of tensors, it takes one exchange. Every function but those of `_nested.py`
is collective: all processes call it, in the same order.
"""

from functools import cache
from operator import index
from os import getpid
from typing import Any

import torch

from .. import _C, _group
from .._C import (
    DistributedOperationException,
    DistributedPeerError,
    DistributedTimeoutError,
)
from ..state import PartialState
from ._nested import (
    ConvertOutputsToFp32,
    GatheredParameters,
    concatenate,
    convert_outputs_to_fp32,
    convert_to_fp32,
    find_batch_size,
    find_device,
    get_data_structure,
    get_shape,
    honor_type,
    ignorant_find_batch_size,
    initialize_tensors,
    is_namedtuple,
    is_tensor_information,
    is_torch_tensor,
    is_torch_xpu_tensor,
    listify,
    pad_input_tensors,
    recursively_apply,
    send_to_device,
    slice_tensors,
)
from ._verification import (
    chained_operation,
    debugging,
    is_leaf,
    share,
    verify,
    verify_operation,
)
from .dataclasses import DistributedType, TensorInformation

__all__ = [
    "TENSOR_INT_TO_DTYPE",
    "TENSOR_TYPE_TO_INT",
    "CannotPadNestedTensorWarning",
    "ConvertOutputsToFp32",
    "DistributedOperationException",
    "DistributedPeerError",
    "DistributedTimeoutError",
    "DistributedType",
    "GatheredParameters",
    "TensorInformation",
    "broadcast",
    "broadcast_object_list",
    "chained_operation",
    "concatenate",
    "convert_outputs_to_fp32",
    "convert_to_fp32",
    "copy_tensor_to_devices",
    "find_batch_size",
    "find_device",
    "gather",
    "gather_object",
    "gather_tensor_shape",
    "get_data_structure",
    "get_shape",
    "gpu_ways",
    "honor_type",
    "ignorant_find_batch_size",
    "initialize_tensors",
    "is_namedtuple",
    "is_tensor_information",
    "is_torch_tensor",
    "is_torch_xpu_tensor",
    "listify",
    "pad_across_processes",
    "pad_input_tensors",
    "recursively_apply",
    "reduce",
    "send_to_device",
    "slice_tensors",
    "verify_operation",
]

# The numbers by which gather_tensor_shape names dtypes.
TENSOR_TYPE_TO_INT = {
    torch.float32: 1,
    torch.float64: 2,
    torch.float16: 3,
    torch.bfloat16: 4,
    torch.uint8: 5,
    torch.int8: 6,
    torch.int16: 7,
    torch.int32: 8,
    torch.int64: 9,
    torch.bool: 10,
}
TENSOR_INT_TO_DTYPE = {number: dtype for dtype, number in TENSOR_TYPE_TO_INT.items()}


class CannotPadNestedTensorWarning(UserWarning):
    """A nested tensor was passed to pad_across_processes, which leaves it as it is."""


def gather(tensor, *, dst: int | None = None, copy: bool = True):
    """Every process' tensors or arrays, joined along the first dimension in rank order.

    `tensor` is a nested structure, and the result is built like it. First dimensions
    may differ from process to process; a tensor without dimensions counts as one row.
    With `dst`, a rank, that process alone gets the result and the others get None.
    Alone, the argument itself.

    With `copy=False`, which all processes pass or none, arrays in the result are
    read-only. On one host they stand in memory once, for all processes, as long as any
    of them keeps one: see `gather_object`. Tensors are always copies.
    """
    comm = _comm()
    if comm is None:
        _check_root("dst", dst)
        return _checked(tensor, "_gpu_gather_one")
    if debugging():
        verify(comm, tensor, "_gpu_gather_one", _name("gather"))
    return comm.gather(tensor, root=dst, copy=copy)


def gather_object(object: Any, *, dst: int | None = None, copy: bool = True):
    """Every process' objects in one list, in rank order.

    Lists and tuples are put one after the other; any other object counts as one item of
    its process. Objects are pickled; tensors of a GPU in them come to the GPU that the
    receiving process works on, or to the CPU where it has none. With `dst`, a rank,
    that process alone gets the list and the others get None. Alone, a list or tuple is
    returned itself.

    With `copy=False`, which all processes pass or none, arrays of 4 KiB and more in the
    objects are read-only. On one host each process' arrays then stand in memory once,
    and every process reads them there for as long as it keeps one of them, also when
    the group or the process that sent them is gone. Where that cannot be they are
    read-only copies. Tensors, for which torch knows no such thing, are always copies.
    """
    comm = _comm()
    if comm is None:
        _check_root("dst", dst)
        return object if isinstance(object, (list, tuple)) else [object]
    parts = comm.gather_object(object, dst, copy)
    if parts is None:
        return None
    items: list[Any] = []
    for own in parts:
        if isinstance(own, (list, tuple)):
            items.extend(own)
        else:
            items.append(own)
    return items


def broadcast(tensor, from_process: int = 0):
    """Writes one process' tensors or arrays into those of all others, and returns them.

    `tensor` is a nested structure, of the same shapes and dtypes everywhere.
    """
    comm = _comm()
    if comm is None:
        _check_root("from_process", from_process)
        return _checked(tensor, "_gpu_broadcast_one")
    if debugging():
        verify(comm, tensor, "_gpu_broadcast_one", _name("broadcast"))
    return comm.broadcast(tensor, from_process)


def broadcast_object_list(object_list, from_process: int = 0):
    """Puts one process' objects into the lists of all others, and returns the list.

    The lists must be of one length. Objects are pickled, as by `gather_object`.
    """
    comm = _comm()
    is_list = isinstance(object_list, list)
    if comm is None:
        _check_root("from_process", from_process)
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


def reduce(tensor, reduction="mean", scale=1.0):
    """The sum, mean, max or min over all processes, element by element, in new tensors.

    `tensor` is a nested structure, of the same shapes and dtypes everywhere;
    `reduction` one of "sum", "mean", "max", "min" and "none", with which each process
    keeps its own; the result is multiplied by `scale`. Every process gets the same
    bits: ranks are taken in their order, 8 and 16 bit floats are summed as float32 and
    rounded once, and integers wrap. Where NCCL adds floats of GPUs, order and rounding
    are its own, the bits still the same everywhere. A mean of integers and an order of
    complex numbers are a ValueError.
    """
    comm = _comm()
    if comm is not None and debugging():
        verify(comm, tensor, "_reduce_across_processes", _name("reduce"))
    return (comm or _alone(getpid())).reduce(tensor, reduction, scale)


def pad_across_processes(tensor, dim=0, pad_index=0, pad_first=False):
    """Brings tensors or arrays to the length that the longest of all processes has.

    `tensor` is a nested structure, built alike everywhere; only dimension `dim` of its
    leaves is padded, with the value `pad_index`, behind what is there or with
    `pad_first` before it. Dtypes stay; a value that a dtype cannot hold is a
    ValueError. A leaf without that dimension, or of full length, is returned itself.
    """
    comm = _comm()
    try:
        if comm is not None and debugging():
            verify(
                comm,
                tensor,
                "_pad_across_processes",
                _name("gather"),
                shape_of=lambda leaf: [1, leaf.ndim],
            )
        return (comm or _alone(getpid())).pad(tensor, dim, pad_index, pad_first)
    except DistributedOperationException as error:
        if not debugging():
            raise
        raise DistributedOperationException(
            f"Error found while calling `{_name('pad_across_processes')}`. Please see "
            "the earlier error for more details."
        ) from error


def copy_tensor_to_devices(tensor=None):
    """What one process has, on all of them.

    `tensor`, a nested structure, is passed by one process, and None by the others,
    which need not know its shape; anything but tensors in it travels too.
    """
    comm = _comm()
    if comm is None:
        return tensor
    owner, structure = _owned(comm, "copy_tensor_to_devices", tensor, _structure)
    if tensor is None:
        tensor = send_to_device(initialize_tensors(structure), PartialState().device)
    comm.broadcast(_tensors(tensor), owner)
    return tensor


def gather_tensor_shape(tensor):
    """The shape, as a tensor of one column, and the dtype's number of
    TENSOR_TYPE_TO_INT of a tensor that one process passes, and the others None."""
    comm = _comm() or _alone(getpid())
    _, (shape, dtype) = _owned(comm, "gather_tensor_shape", tensor, _shape_and_dtype)
    if dtype not in TENSOR_TYPE_TO_INT:
        raise ValueError(
            f"gather_tensor_shape: {dtype} has no number in TENSOR_TYPE_TO_INT: use "
            "copy_tensor_to_devices, which needs none"
        )
    column = torch.tensor(shape, dtype=torch.int).reshape(-1, 1)
    return column, TENSOR_TYPE_TO_INT[dtype]


def _comm() -> "_C.Comm | None":
    """The communicator with the others, None alone; sets the state up at first use."""
    if not PartialState._shared_state:
        PartialState()
    return _group.comm


@cache
def _alone(pid: int) -> "_C.Comm":
    """A world of this process, for operations that compute something alone too; a child
    that was forked has one of its own."""
    return _C.comm_self()


def _owned(comm: "_C.Comm", operation: str, own, describe) -> tuple[int, Any]:
    """Collective. The only rank that has something, and what `describe` says of that;
    an error of all where that is not one rank or cannot be described."""
    described, refused = None, None
    if own is not None:
        try:
            described = describe(own)
        except Exception as error:
            refused = error
    reports = share(comm, operation, (own is not None, described), refused)
    owners = [rank for rank, (has, _) in enumerate(reports) if has]
    if len(owners) != 1:
        who = f"ranks {owners}" if owners else "nobody"
        raise DistributedOperationException(
            f"{operation}: {who} passed a tensor: exactly one process passes it, and "
            "the others None"
        )
    return owners[0], reports[owners[0]][1]


def _structure(tree):
    """What initialize_tensors needs, of a structure whose tensors can be sent."""
    _alone(getpid()).broadcast(_tensors(tree), 0)
    return get_data_structure(tree)


def _shape_and_dtype(tensor: torch.Tensor) -> tuple[list[int], torch.dtype]:
    return list(tensor.shape), tensor.dtype


def _name(operation: str) -> str:
    """An operation's name in messages of debug mode, which are accelerate's."""
    return f"accelerate.utils.operations.{operation}"


def _check_root(argument: str, root: int | None) -> None:
    """Refuses any root but this process, alone; the core checks it among others."""
    if root is None and argument == "dst":
        return
    if root is None or not hasattr(root, "__index__"):
        raise TypeError(f"{argument} must be an int, not {type(root)}")
    if index(root) != 0:
        raise ValueError(f"{argument} is {root} with 1 processes: name one from 0 to 0")


def _checked(tree, operation: str):
    """The tree itself, after the look at its leaves that communicating would take."""

    def same(leaf):
        return leaf

    same.__name__ = operation
    recursively_apply(same, tree, test_type=is_leaf, error_on_other_type=True)
    return tree


def _tensors(tree) -> list[torch.Tensor]:
    """The tensors of a nested structure, in its order."""
    found: list[torch.Tensor] = []
    recursively_apply(found.append, tree)
    return found


def gpu_ways() -> str:
    """How tensors go from GPU to GPU, in lines for people; not collective.

    The first operation on a GPU chooses the ways by a payload's bytes, from what all
    processes have; then each other way stands there with the reason why it is off, and
    each rank with its GPU. Before that the text says what PYACCEL_GPU_WAYS asks for.
    """
    PartialState()
    if _group.comm is None:
        return "one process works alone: nothing goes between GPUs"
    return _group.comm.devices()
