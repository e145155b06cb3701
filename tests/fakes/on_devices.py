"""Functions of tests that know nothing of devices, with their tensors on a fake one.

Whatever tensor a rank passes to a collective counts as one of its device until the call
is over and all that was queued is done.
"""

import functools

from pyaccel import _C
from tests.harness import here

from .devices import devices

COUNT = 8  # devices, one a rank
_COLLECTIVES = ("gather", "broadcast", "reduce", "pad")


class OnDevice:
    """A communicator whose collectives find the tensors that they get on a device."""

    def __init__(self, comm, device):
        vars(self).update(_comm=comm, _device=device)

    def __getattr__(self, name):
        found = getattr(self._comm, name)
        if name not in _COLLECTIVES:
            return found

        @functools.wraps(found)
        def collective(tree=(), *args, **kwargs):
            with devices().lent(_tensors(tree), self._device):
                return found(tree, *args, **kwargs)

        return collective

    def __setattr__(self, name, value):
        setattr(self._comm, name, value)


def call(function, *args):
    """Call a function whose tensors are on the device of this rank."""
    _install(here.rank % COUNT)
    return function(*args)


@functools.cache
def _install(device):
    """Once a process, before it has a communicator."""
    found = devices()
    found.use(device, found.new_stream(device))
    found.place_empties(device)
    for name in ("comm_self", "comm_attach", "comm_relay"):
        setattr(_C, name, _on_device(getattr(_C, name), device))


def _on_device(make, device):
    @functools.wraps(make)
    def made(*args, **kwargs):
        return OnDevice(make(*args, **kwargs), device)

    return made


def _tensors(tree):
    """The tensors of a structure, as far as it is one."""
    found = []
    try:
        _C.recursively_apply(found.append, tree, (), None, False, {})
    except Exception:
        return found  # what the operation itself says of the structure counts
    return found
