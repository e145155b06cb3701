"""What is done to nested containers without any other process; operations.py names
it."""

from collections.abc import Mapping
from contextlib import contextmanager
from functools import update_wrapper
from pickle import PicklingError

import torch

from .. import _C
from .dataclasses import TensorInformation
from .imports import is_npu_available


def is_torch_tensor(tensor) -> bool:
    """Whether a value is a tensor of torch."""
    return isinstance(tensor, torch.Tensor)


def is_torch_xpu_tensor(tensor) -> bool:
    """Whether a value is a tensor on an Intel GPU."""
    return isinstance(tensor, torch.Tensor) and tensor.device.type == "xpu"


def is_tensor_information(tensor_info) -> bool:
    """Whether a value says what a tensor is, instead of being one."""
    return isinstance(tensor_info, TensorInformation)


def is_namedtuple(data) -> bool:
    """Whether a value is a tuple with names, as collections.namedtuple makes them."""
    return (
        isinstance(data, tuple)
        and hasattr(data, "_asdict")
        and hasattr(data, "_fields")
    )


def honor_type(obj, generator):
    """The items of an iterable as a list, tuple or namedtuple: whatever `obj` is."""
    return type(obj)(*generator) if is_namedtuple(obj) else type(obj)(generator)


def recursively_apply(
    func, data, *args, test_type=is_torch_tensor, error_on_other_type=False, **kwargs
):
    """`data` with `func(leaf, *args, **kwargs)` in the place of its leaves.

    Lists, tuples, namedtuples, mappings and their subclasses are containers, and built
    again with the same type. A leaf for which `test_type(leaf)` is false stays as it
    is, or with `error_on_other_type` is a TypeError.
    """
    test = None if test_type is is_torch_tensor else test_type
    return _C.recursively_apply(func, data, args, test, error_on_other_type, kwargs)


def send_to_device(tensor, device, non_blocking=False, skip_keys=None):
    """The nested structure with everything that has a method `to` on a device.

    `non_blocking` is handed on to those who know it. The values of mappings under
    `skip_keys`, a key or a list of them, stay where they are. What is on the device
    already is not copied. Copies of host tensors to a GPU are waited for once, after
    all, or with `non_blocking` not at all.
    """
    if isinstance(skip_keys, str):
        skip_keys = [skip_keys]
    if device == "npu":
        device = "npu:0"  # torch_npu knows no device without a number at first
    elif type(device) is int and is_npu_available():
        device = f"npu:{device}"
    settle = _wait_for_copies if not non_blocking and _is_gpu(device) else None
    keywords = {"non_blocking": non_blocking}
    return _C.send_to_device(tensor, device, keywords, skip_keys, settle)


def _is_gpu(device) -> bool:
    """Whether this names a device of CUDA, as far as can be seen without asking it."""
    if isinstance(device, torch.device):
        return device.type == "cuda"
    if isinstance(device, str):
        return device.startswith("cuda")
    return type(device) is int and torch.version.cuda is not None


def _wait_for_copies(device) -> None:
    """Waits for what was copied to a GPU, on the stream that it was copied on."""
    torch.cuda.current_stream(device).synchronize()


def get_data_structure(data):
    """`data` with a TensorInformation, shape and dtype, in the place of each tensor."""
    return recursively_apply(
        lambda tensor: TensorInformation(shape=tensor.shape, dtype=tensor.dtype), data
    )


def get_shape(data):
    """`data` with its shape, as a list, in the place of each tensor."""
    return recursively_apply(lambda tensor: list(tensor.shape), data)


def initialize_tensors(data_structure):
    """`data_structure` with an empty tensor in the place of each TensorInformation."""
    return recursively_apply(
        lambda info: torch.empty(info.shape, dtype=info.dtype),
        data_structure,
        test_type=is_tensor_information,
    )


find_batch_size = _C.find_batch_size


def ignorant_find_batch_size(data):
    """As find_batch_size, but None where that refuses the type or finds nothing."""
    try:
        return find_batch_size(data)
    except (ValueError, TypeError):
        return None


def _numbers(tensor):
    tensor = tensor.detach().cpu()
    try:
        return tensor.tolist()
    except (TypeError, RuntimeError, NotImplementedError):
        return tensor.float().tolist()  # a dtype that Python has no number for


def listify(data):
    """`data` with lists of numbers, or a number, in the place of its tensors."""
    return recursively_apply(_numbers, data)


def slice_tensors(data, tensor_slice, process_index=None, num_processes=None):
    """`data` with a slice of each of its tensors; the last two arguments are unused."""
    return recursively_apply(lambda tensor: tensor[tensor_slice], data)


def concatenate(data, dim=0):
    """One nested structure of several: their tensors joined along a dimension.

    `data` is a list of structures that are built alike. A single one that holds
    anything but tensors is returned as it is.
    """
    first = data[0]
    if isinstance(first, (tuple, list)):
        return honor_type(
            first,
            (concatenate([d[i] for d in data], dim=dim) for i in range(len(first))),
        )
    if isinstance(first, Mapping):
        joined = {key: concatenate([d[key] for d in data], dim=dim) for key in first}
        # Every mapping in use can be made of a dict, which its base class leaves open.
        return type(first)(joined)  # type: ignore[call-arg]
    if isinstance(first, torch.Tensor):
        return torch.cat(data, dim=dim)
    if len(data) == 1:
        return first
    raise TypeError(f"Can only concatenate tensors but got {type(first)}")


def pad_input_tensors(tensor, batch_size, num_processes, dim=0):
    """`tensor` with its last item repeated until the batch divides among the processes.

    `tensor` is nested; each of its tensors has `batch_size` items along `dim`.
    """
    missing = -batch_size % num_processes

    def pad(one):
        if missing == 0:
            return one
        if one.shape[dim] == 0:
            raise ValueError(
                f"pad_input_tensors: a tensor of shape {list(one.shape)} has no last "
                "item to repeat: pass at least one input"
            )
        last = one.narrow(dim, one.shape[dim] - 1, 1)
        return torch.cat([one, *[last] * missing], dim)

    pad.__name__ = "_pad_input_tensors"
    return recursively_apply(pad, tensor, error_on_other_type=True)


def find_device(data):
    """The device of the first tensor in a nested structure, or None if it has none."""
    if isinstance(data, torch.Tensor):
        return data.device
    items = data.values() if isinstance(data, Mapping) else data
    if isinstance(data, (Mapping, tuple, list)):
        for item in items:
            if (device := find_device(item)) is not None:
                return device
    return None


def _is_half(value) -> bool:
    halves = (torch.float16, torch.bfloat16)
    return hasattr(value, "dtype") and value.dtype in halves


def convert_to_fp32(tensor):
    """The nested structure with its float16 and bfloat16 tensors as float32."""
    return recursively_apply(lambda one: one.float(), tensor, test_type=_is_half)


class ConvertOutputsToFp32:
    """A function whose float16 and bfloat16 results are converted to float32."""

    def __init__(self, model_forward):
        self.model_forward = model_forward
        update_wrapper(self, model_forward)

    def __call__(self, *args, **kwargs):
        return convert_to_fp32(self.model_forward(*args, **kwargs))

    def __getstate__(self):
        raise PicklingError(
            "a model whose outputs are converted to float32 cannot be pickled: unwrap "
            "it with `Accelerator.unwrap_model(model)` first"
        )


def convert_outputs_to_fp32(model_forward):
    """`model_forward`, a function, with its results converted to float32."""
    converting = ConvertOutputsToFp32(model_forward)

    def forward(*args, **kwargs):
        return converting(*args, **kwargs)

    # By which extract_model_from_parallel finds the way back.
    forward.__wrapped__ = converting  # type: ignore[attr-defined]
    return forward


@contextmanager
def GatheredParameters(params, modifier_rank=None, fwd_module=None, enabled=True):
    """Does nothing: parameters are whole in inference.

    Parameters that DeepSpeed's ZeRO-3 has taken apart, which happens in training only,
    are a NotImplementedError.
    """
    some = params if isinstance(params, (list, tuple)) else [params]
    if enabled and any(hasattr(one, "ds_id") for one in some):
        raise NotImplementedError(
            "GatheredParameters: these parameters were taken apart by DeepSpeed's "
            "ZeRO-3 for training, which pyaccel does not do: gather them with "
            "deepspeed.zero.GatheredParameters"
        )
    yield
