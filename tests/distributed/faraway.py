"""A device whose tensors are in no memory that the core can read, made of Python.

Its tensors wrap ordinary ones; torch takes them for a device of their own. Only what
the tests need is there.
"""

import torch
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten


class Faraway(torch.Tensor):
    """A tensor of the device `faraway` with the values of the tensor `here`."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            dtype=here.dtype,
            device="faraway:0",
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None)
        plain, named = pytree.tree_map_only(cls, lambda t: t.here, (args, kwargs))
        result = function(*plain, **named)
        if function is aten.copy_.default:
            return args[0]
        if device is not None and torch.device(device).type == "cpu":
            return result
        return pytree.tree_map_only(torch.Tensor, cls, result)


def _empty_strided(size, stride, *, dtype, **options):
    return Faraway(torch.empty_strided(size, stride, dtype=dtype))


def register():
    """Has torch know the device, from now on; the library that must be kept alive."""
    _setup_privateuseone_for_python_backend("faraway")
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    return library
