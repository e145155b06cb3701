"""Leak cases of the communicator's collectives, in groups of two, failures included."""

import pytest
import torch
from PIL import Image

from pyaccel import _C
from tests.leaks.table import case

Failed = _C.DistributedOperationException


@case("Comm.barrier", size=2)
def barrier(comm, given):
    comm.barrier()
    with pytest.raises(TypeError):
        comm.barrier(1)


@case("Comm.gather", "Comm.broadcast", "Comm.gather_object", "comm_self", "Comm.close")
def alone(comm, given):
    own = _C.comm_self()
    own.barrier()
    own.gather(given.tree)
    own.broadcast(given.tree)
    own.gather_object(given.objects)
    own.broadcast_object(given.objects)
    own.close()
    with pytest.raises(Failed):
        own.gather(given.tensor)


@case("Comm.set_device", "Comm.ask_ways", "Comm.devices", calls=100)
def devices_of_a_group(comm, given):
    own = _C.comm_self()
    own.set_device(1)
    own.set_device(index=0, shared_nccl=True)
    own.ask_ways("staged")
    own.devices()
    with pytest.raises(ValueError):
        own.set_device(-1)
    with pytest.raises(ValueError):
        own.ask_ways("by hand")
    with pytest.raises(TypeError):
        own.ask_ways(given.tensor)
    own.close()
    for asked in (own.devices, lambda: own.set_device(0), lambda: own.ask_ways("ipc")):
        with pytest.raises(Failed):
            asked()


@case("Comm.gather", size=2)
def gather_small(comm, given):
    comm.gather(given.tensor)
    comm.gather(given.array)
    comm.gather(given.strided)
    comm.gather(given.strided_array)
    comm.gather(tree=given.tree, strict=True)


@case("Comm.gather", size=2, calls=40)
def gather_large(comm, given):
    comm.gather(given.large)
    comm.gather([given.large, given.tensor])


@case("Comm.gather", size=2, calls=40)
def gather_uneven(comm, given):
    rows = given.large[: 10 + given.rank]
    comm.gather(rows)
    with pytest.raises(Failed):
        comm.gather(rows, strict=True)


@case("Comm.gather", "Comm.broadcast", size=2)
def by_each_path(comm, given):
    for path in ("exchange", "shim", "attributes", "auto"):
        _C.force_tensor_path(path)
        comm.gather(given.tree)
        comm.broadcast(given.tree)


@case("Comm.gather", size=2, calls=40)
def gather_refused(comm, given):
    with pytest.raises(TypeError):
        comm.gather(given.text)
    with pytest.raises(TypeError):
        comm.gather([given.tensor, {"x": given.text}])
    with pytest.raises(TypeError):
        comm.gather(torch.empty(2, device="meta"))
    with pytest.raises(TypeError):
        comm.gather()
    with pytest.raises(TypeError):
        comm.gather(given.tensor, nothing=1)


@case("Comm.gather", size=2)
def gather_refused_by_one(comm, given):
    with pytest.raises((TypeError, Failed)):
        comm.gather([given.tensor, given.text if given.rank else given.array])


@case("Comm.gather", "Comm.broadcast", size=2)
def mismatched(comm, given):
    with pytest.raises(Failed):
        comm.gather(given.tensor) if given.rank else comm.broadcast(given.tensor)
    with pytest.raises(Failed):
        comm.gather(given.tensor if given.rank else given.array)
    with pytest.raises(Failed):
        comm.gather(given.tree if given.rank else given.tensor)


class Endless(dict):
    """A mapping that cannot be rebuilt."""

    def __init__(self, items):
        if not isinstance(items, list):
            raise ArithmeticError
        super().__init__(items)


@case("Comm.gather", "Comm.broadcast", size=2)
def results_that_cannot_be_rebuilt(comm, given):
    tree = Endless([("a", given.tensor), ("b", given.array)])
    with pytest.raises(ArithmeticError):
        comm.gather(tree)
    with pytest.raises(ArithmeticError):
        comm.broadcast(tree)


@case("Comm.broadcast", size=2)
def broadcast(comm, given):
    comm.broadcast(given.tensor)
    comm.broadcast(given.strided, root=1)
    comm.broadcast(given.strided_array)
    comm.broadcast(given.tree, 1)


@case("Comm.broadcast", size=2, calls=40)
def broadcast_large(comm, given):
    comm.broadcast([given.large, given.array])


@case("Comm.broadcast", size=2)
def broadcast_refused(comm, given):
    with pytest.raises(ValueError):
        comm.broadcast(given.tensor, 2)
    with pytest.raises(TypeError):
        comm.broadcast(given.tensor, "root")
    with pytest.raises(TypeError):
        comm.broadcast([given.tensor, given.text])
    expanded = torch.ones(1).expand(3)
    with pytest.raises((ValueError, Failed)):
        comm.broadcast(expanded)


@case("Comm.gather_object", size=2)
def gather_object(comm, given):
    comm.gather_object(given.text)
    comm.gather_object(given.list)
    comm.gather_object([given.tensor, given.array, given.strided])


@case("Comm.gather_object", "keep_buffer_in_band", size=2, calls=40)
def gather_large_objects(comm, given):
    comm.gather_object(given.objects)
    comm.gather_object(given.text * 5000)


@case("Comm.gather", size=2, calls=60)
def leased_arrays(comm, given):
    comm.gather([given.large.numpy(), given.large], copy=False)
    comm.gather(given.large.numpy(), root=1, copy=False)
    comm.gather(given.array, copy=False)
    with pytest.raises(Failed):
        comm.gather(given.array, copy=bool(given.rank))


@case("Comm.gather_object", size=2, calls=60)
def leased_objects(comm, given):
    kept = [comm.gather_object([given.large.numpy()], None, False) for _ in range(2)]
    assert len(kept) == 2
    comm.gather_object([given.array], root=1, copy=False)
    with pytest.raises(Failed):
        comm.gather_object(given.list, copy=bool(given.rank))


@case("arrow_bytes_of", "Comm.gather_object", size=2, calls=100)
def images(comm, given):
    image = Image.new("RGB", (200, 200))
    comm.gather_object([image, image.convert("L")])
    comm.gather_object([image], copy=False)
    schema, array = image.__arrow_c_array__()
    _C.arrow_bytes_of(schema, array)
    with pytest.raises(ValueError):
        _C.arrow_bytes_of(array, array)


@case("Comm.gather_object", "Comm.broadcast_object", size=2)
def unpicklable(comm, given):
    with pytest.raises(ValueError):
        comm.gather_object([given.lock])
    value = given.lock if given.rank else given.text
    with pytest.raises((ValueError, Failed)):
        comm.gather_object([given.text, value])
    with pytest.raises((ValueError, Failed)):
        comm.broadcast_object([given.lock])


class Unloadable:
    """Pickled anywhere, rebuilt nowhere."""

    def __reduce__(self):
        return int, ("not a number",)


@case("Comm.gather_object", "Comm.broadcast_object", size=2)
def unloadable(comm, given):
    with pytest.raises(ValueError):
        comm.gather_object([given.array, Unloadable()])
    if given.rank:
        with pytest.raises(ValueError):
            comm.broadcast_object(Unloadable())
    else:
        comm.broadcast_object(Unloadable())


@case("Comm.broadcast_object", size=2)
def broadcast_object(comm, given):
    comm.broadcast_object(given.list)
    comm.broadcast_object(given.list, root=1, length=4)
    with pytest.raises(ValueError):
        comm.broadcast_object(given.list, 5)
    with pytest.raises(TypeError):
        comm.broadcast_object(given.list, "root")
    with pytest.raises(Failed):
        comm.broadcast_object(given.list, 0, given.rank)


@case("Comm.broadcast_object", size=2, calls=40)
def broadcast_large_object(comm, given):
    comm.broadcast_object(given.objects, given.rank - given.rank)


@case(
    *("Comm.rank", "Comm.size", "Comm.backend", "Comm.closed", "Comm.broken"),
    *("Comm.timeout", "Comm.patience"),
    size=2,
)
def properties(comm, given):
    assert (comm.rank, comm.size, comm.backend) == (given.rank, 2, "shm")
    assert comm.broken is None
    assert not comm.closed
    comm.timeout, comm.patience = comm.timeout, comm.patience
    for wrong, kind in ((0, ValueError), (given.text, TypeError)):
        with pytest.raises(kind):
            comm.timeout = wrong
    with pytest.raises(TypeError):
        comm.patience = given.text
    with pytest.raises(AttributeError):
        del comm.timeout
