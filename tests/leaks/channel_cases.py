"""Leak cases of messages between two ranks, failures included."""

import pytest

from pyaccel import _C
from tests.leaks.table import case

Failed = _C.DistributedOperationException


@case("Comm.send", "Comm.recv", "Comm.send_object", "Comm.recv_object")
def send_alone(comm, given):
    own = _C.comm_self()
    own.send(given.tree, 0)
    own.send_object(given.objects, 0)
    own.recv(0)
    own.recv_object(0)
    own.send(given.large, 0)
    own.close()
    for call in (own.send, own.send_object):
        with pytest.raises(Failed):
            call(given.tensor, 0)
    for call in (own.recv, own.recv_object):
        with pytest.raises(Failed):
            call(0)


@case("Comm.send", "Comm.recv", size=2)
def send_small(comm, given):
    other = 1 - given.rank
    for value in (given.tensor, given.array, given.strided, given.tree):
        comm.send(value, other, tag=5, digest=1 << 63)
        comm.recv(other, 5, digest=1 << 63)


@case("Comm.send", "Comm.recv", size=2, calls=40)
def send_large(comm, given):
    comm.send([given.large, given.tensor], to=1 - given.rank)
    comm.recv(source=1 - given.rank)


@case("Comm.send_object", "Comm.recv_object", size=2)
def send_objects(comm, given):
    comm.send_object(given.objects, 1 - given.rank)
    comm.send_object([given.array, bytes(100000)], 1 - given.rank)
    comm.recv_object(1 - given.rank)
    comm.recv_object(1 - given.rank)


@case("Comm.send", "Comm.recv", "Comm.send_object", "Comm.recv_object", size=2)
def send_refused(comm, given):
    for call in (comm.send, comm.send_object):
        for arguments in (
            (),
            (given.tensor,),
            (given.tensor, "1"),
            (given.tensor, 0.5),
        ):
            with pytest.raises(TypeError):
                call(*arguments)
        with pytest.raises(ValueError):
            call(given.tensor, 2)
    for call in (comm.recv, comm.recv_object):
        with pytest.raises(TypeError):
            call(0, digest="x")
        with pytest.raises(ValueError):
            call(-1)
    with pytest.raises(TypeError):
        comm.send([given.tensor, given.text], 1 - given.rank)
    with pytest.raises((TypeError, AttributeError)):
        comm.send_object(lambda: None, 1 - given.rank)


@case("Comm.send", "Comm.recv", "Comm.recv_object", size=2)
def send_mismatched(comm, given):
    other = 1 - given.rank
    comm.send(given.tree, other)
    comm.send_object(given.objects, other, 3)
    comm.barrier()
    with pytest.raises(Failed):
        comm.recv(other, tag=1)
    with pytest.raises(Failed):
        comm.recv_object(other, digest=1)
    comm.barrier()
    with pytest.raises(Failed):
        comm.send(given.tensor, other)
