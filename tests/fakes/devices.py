"""Fake devices in a rank: their tensors, their streams and torch's work on them.

For processes of the test build (tests/fakes/overlay.py) whose variables name the fake
libraries. A tensor of a fake device is a CPU tensor over memory of the fake runtime.
"""

import ctypes
import weakref
from contextlib import contextmanager
from functools import cache, wraps

import torch

from pyaccel import _C

from .client import Cuda

# What torch computes with a tensor of a device it queues on the current stream. Here
# the host computes it, once what is queued there is done.
_KERNELS = ("contiguous", "copy_", "fill_", "new_empty", "resolve_conj", "resolve_neg")


class Devices:
    """The fake runtime and the test build's choice of streams."""

    def __init__(self):
        self.cuda = Cuda()
        self._torch = ctypes.CDLL(_C.__file__)
        self._streams = {}
        self._empties = -1

    def device_of(self, tensor):
        """The device that a tensor is on; -1 for the host."""
        address, nbytes = _memory(tensor)
        return self.cuda.fake("device_of", address) if nbytes > 0 else self._empties

    def new_stream(self, device):
        """A stream of a device."""
        self.cuda.call("SetDevice", device)
        return self.cuda.stream()

    def use(self, device, stream):
        """Make a stream the current one of its device, as torch.cuda.stream does."""
        self._streams[device] = stream
        self._torch.fake_torch_use(device, ctypes.c_void_p(stream))

    def current(self, device):
        """The current stream of a device; None for the default one."""
        return self._streams.get(device)

    def place_empties(self, device):
        """Say where tensors without elements are: on a device, or -1 for the host."""
        self._empties = device
        self._torch.fake_torch_empties(device)

    def wait(self, device):
        """Wait for the current stream of a device."""
        self.cuda.wait(self.current(device))

    def synchronize(self):
        """Wait for all streams."""
        self.cuda.fake("synchronize_all")

    def empty(self, shape, dtype, device):
        """A tensor on a device; its values are any."""
        nbytes = torch.Size(shape).numel() * dtype.itemsize
        if nbytes == 0:
            return torch.empty(shape, dtype=dtype)
        address = self.cuda.fake("alloc", device, nbytes, self.current(device))
        if not address:
            raise torch.OutOfMemoryError(f"the fake device {device} is full")
        # Of a subclass, since those of ctypes' own types know no weak references.
        memory = type("Memory", (ctypes.c_ubyte * nbytes,), {}).from_address(address)
        weakref.finalize(memory, self.cuda.fake, "free", address)
        made = torch.frombuffer(memory, dtype=torch.uint8)
        return made.view(dtype).reshape(shape)

    def tensor(self, values, device):
        """A tensor on a device with the values of one of the host."""
        plain = values.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
        made = self.empty(plain.shape, plain.dtype, device)
        if plain.numel() > 0:
            flat = plain.clone(memory_format=torch.contiguous_format).reshape(-1)
            _bytes(made).numpy()[:] = flat.view(torch.uint8).numpy()
        return made

    @contextmanager
    def lent(self, tensors, device):
        """The memory of these tensors of the host is a device's meanwhile."""
        lent = set()
        for tensor in tensors:
            address, nbytes = _memory(tensor)
            if nbytes > 0 and self.cuda.fake("device_of", address) < 0:
                assert self.cuda.fake("lend", device, address, nbytes)
                lent.add(address)
        try:
            yield
        finally:
            self.synchronize()
            for address in lent:
                self.cuda.fake("return", address)


def _memory(tensor):
    """Where the whole memory of a tensor begins, and its length; 0 for none."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (RuntimeError, NotImplementedError):
        return 0, 0


def _bytes(tensor):
    return tensor.reshape(-1).view(torch.uint8)


@cache
def devices():
    """The fake devices of this process, with torch's work on them."""
    made = Devices()
    for name in _KERNELS:
        setattr(torch.Tensor, name, _kernel(made, getattr(torch.Tensor, name)))
    torch.empty = _empty(made, torch.empty)
    return made


def _empty(made, original):
    """torch.empty, which knows the fake devices as "cuda:0" and so on."""

    @wraps(original)
    def empty(*args, device=None, **kwargs):
        kind, _, index = str(device).partition(":")
        if kind != "cuda":
            return original(*args, device=device, **kwargs)
        return made.empty(args[0], kwargs["dtype"], int(index))

    return empty


def _kernel(made, original):
    """A method of tensors that waits for what is queued before it, and whose result is
    on the device of its tensor."""

    @wraps(original)
    def method(self, *args, **kwargs):
        device = made.device_of(self)
        if device < 0:
            return original(self, *args, **kwargs)
        if original.__name__ != "new_empty":  # which looks at no values
            made.wait(device)
        result = original(self, *args, **kwargs)
        if result.numel() > 0 and made.device_of(result) < 0:
            return made.tensor(result, device)
        return result

    return method
