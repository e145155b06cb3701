"""Pickling for the wire: what the core cannot serialise in its short way.

Protocol 5 with buffers out of band, and reducers of our own for types whose own
reducers copy their data into the pickle. The reducers apply to our pickles only; what
they give is rebuilt by functions of this module.
"""

import copyreg
import io
import pickle
import sys
from functools import partial

from pyaccel import _C, _images


def _own_device():
    """Where tensors of GPUs are put: the GPU that torch works on here, else the CPU.

    The sender's number would name a GPU that this process may not see, or one on which
    it has no business and would keep a context.
    """
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _rebuild_on_device(tensor):
    return tensor.to(_own_device())


def _rebuild_storage(data):
    import torch

    return torch.load(io.BytesIO(data), map_location=_own_device(), weights_only=False)


def _reduce_storage(storage):
    """As torch does it, but that a GPU's is rebuilt on the receiver's own device."""
    function, arguments = storage.__reduce__()
    # Asked of what is inside: the storage itself warns that it is old.
    if storage._untyped_storage.device.type == "cuda":
        return _rebuild_storage, arguments
    return function, arguments


def _rebuild_tensor(buffer, dtype, shape, stride):
    import torch

    if memoryview(buffer).readonly:
        # torch has no tensors that cannot be written to.
        buffer = bytearray(buffer)
    flat = torch.frombuffer(buffer, dtype=torch.uint8)
    return flat.view(dtype).as_strided(shape, stride)


def _reduce_tensor(tensor):
    """A tensor's own values as a buffer, a GPU's by way of the CPU; one with more to it
    in torch's own way.

    torch's way takes the whole storage of a view along, and fails for newer dtypes.
    """
    import torch

    plain = (
        tensor.layout is torch.strided
        and tensor.device.type in ("cpu", "cuda")
        and not tensor.requires_grad
        and not tensor.is_quantized
        and not tensor.is_nested
        and not tensor.__dict__
        and tensor.numel() > 0
    )
    if not plain:
        return tensor.__reduce_ex__(5)
    values = tensor.detach().resolve_conj().resolve_neg()
    if values.device.type == "cuda":
        return _rebuild_on_device, (values.cpu(),)
    if not values.is_contiguous():
        # Dense then, with the dimensions in memory in the order that they had.
        values = values.clone()
    flat = values.as_strided((values.numel(),), (1,)).view(torch.uint8).numpy()
    buffer = pickle.PickleBuffer(flat)
    shape, stride = tuple(values.shape), values.stride()
    return _rebuild_tensor, (buffer, values.dtype, shape, stride)


def _reducers():
    """Type -> reducer, for the types whose modules the script has imported."""
    table = copyreg.dispatch_table.copy()
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor"):
        table[torch.Tensor] = _reduce_tensor
        table[torch.storage.TypedStorage] = _reduce_storage
    images = sys.modules.get("PIL.Image")
    if images is not None and hasattr(images, "Image"):
        table[images.Image] = _images.reduce_image
    return table


def dumps(value, buffers):
    """Pickle ``value``; large buffers are appended to the list ``buffers`` instead.

    Returns the pickle as bytes. Raises whatever pickling the value raises.
    """
    stream = io.BytesIO()
    callback = partial(_C.keep_buffer_in_band, buffers)
    pickler = pickle.Pickler(stream, 5, buffer_callback=callback)
    pickler.dispatch_table = _reducers()
    pickler.dump(value)
    return stream.getvalue()
