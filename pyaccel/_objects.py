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

from pyaccel import _C


def _rebuild_tensor(buffer, dtype, shape):
    import torch

    flat = torch.frombuffer(buffer, dtype=torch.uint8)
    return flat.view(dtype).reshape(shape)


def _reduce_tensor(tensor):
    """A plain contiguous CPU tensor as a buffer; any other in torch's own way."""
    import torch

    plain = (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and not tensor.is_quantized
        and not tensor.is_nested
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not tensor.__dict__
        and tensor.numel() > 0
        and tensor.is_contiguous()
    )
    if not plain:
        return tensor.__reduce_ex__(5)
    flat = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    buffer = pickle.PickleBuffer(flat)
    return _rebuild_tensor, (buffer, tensor.dtype, tuple(tensor.shape))


def _reducers():
    """Type -> reducer, for the types whose modules the script has imported."""
    table = copyreg.dispatch_table.copy()
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor"):
        table[torch.Tensor] = _reduce_tensor
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
