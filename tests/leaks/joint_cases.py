"""Leak cases of what ranks compute together, and of what one of them gets alone."""

import pytest
import torch

from pyaccel import _C
from tests.leaks.table import case

Failed = _C.DistributedOperationException


@case("Comm.reduce", "Comm.pad")
def joint_alone(comm, given):
    own = _C.comm_self()
    own.reduce([given.tensor, {"a": given.strided}], "sum", 2.0)
    own.pad(given.tree, 0)
    own.close()
    for call in (own.reduce, own.pad):
        with pytest.raises(Failed):
            call(given.tensor)


@case("Comm.reduce", size=2)
def reduce(comm, given):
    for reduction in ("sum", "mean", "max", "min", "none"):
        comm.reduce({"a": [given.tensor], "b": given.strided}, reduction, 0.5)
    comm.reduce(given.array, "sum")
    comm.reduce(tree=given.strided_array, reduction="mean", scale=2)


@case("Comm.reduce", size=2, calls=40)
def reduce_large(comm, given):
    comm.reduce([given.large, given.tensor.bfloat16()])


@case("Comm.reduce", size=2)
def reduce_refused(comm, given):
    for arguments in ((given.tensor, given.text), (given.tensor, 5), (given.array,)):
        with pytest.raises(ValueError):
            comm.reduce(*arguments)
    for arguments in ((given.text,), (given.tensor, "sum", "x"), ()):
        with pytest.raises(TypeError):
            comm.reduce(*arguments)


@case("Comm.reduce", size=2)
def reduce_mismatched(comm, given):
    with pytest.raises(Failed):
        comm.reduce(given.tensor if given.rank else given.strided)
    with pytest.raises(Failed):
        comm.reduce(given.tensor, "max" if given.rank else "min")
    with pytest.raises((TypeError, Failed)):
        comm.reduce([given.tensor, given.text if given.rank else given.tensor])


@case("Comm.pad", size=2)
def pad(comm, given):
    comm.pad(given.tree)
    comm.pad([given.tensor[: 5 + given.rank], {"a": given.strided}], 0, 7)
    comm.pad(given.array[: 5 + given.rank], pad_first=True)
    comm.pad(torch.ones(2, 3 + given.rank), dim=-1, pad_index=1.5)


@case("Comm.pad", size=2, calls=40)
def pad_large(comm, given):
    comm.pad(given.large[: 200_000 + given.rank * 1000])


@case("Comm.pad", size=2)
def pad_refused(comm, given):
    with pytest.raises((ValueError, Failed)):
        comm.pad(given.array[: 5 + given.rank], 0, 1.5)
    for arguments in ((given.text,), (given.tensor, "dim"), ()):
        with pytest.raises(TypeError):
            comm.pad(*arguments)
    with pytest.raises(Failed):
        comm.pad(given.tensor if given.rank else given.tree)
    with pytest.raises((TypeError, Failed)):
        comm.pad([given.tensor, given.text if given.rank else given.array])


@case("Comm.gather", "Comm.gather_object", size=2)
def one_receiver(comm, given):
    assert (comm.gather(given.tree, root=1) is None) == (given.rank == 0)
    assert (comm.gather_object(given.objects, 0) is None) == (given.rank == 1)
    with pytest.raises(ValueError):
        comm.gather(given.tensor, root=2)
    with pytest.raises(ValueError):
        comm.gather_object(given.text, 2)
    with pytest.raises(Failed):
        comm.gather(given.tensor, root=given.rank)
