"""Leak cases of making communicators, by one process for all ranks."""

import os
from contextlib import contextmanager

import pytest

from pyaccel import _C
from tests.leaks.table import case

Failed = _C.DistributedOperationException


@contextmanager
def pair(timeout=10.0):
    """A segment and communicators of its two ranks, in this one process."""
    segment = _C.Segment(2)
    comms = [_C.comm_attach(segment.fd, rank, 2, timeout) for rank in range(2)]
    try:
        yield segment, comms
    finally:
        for comm in comms:
            comm.close()
        segment.close()


@case("Segment", "Segment.close", "Segment.fd", "Segment.size", calls=50)
def segment(comm, given):
    made = _C.Segment(size=3)
    assert made.size == 3
    assert made.fd >= 0
    made.close()
    made.close()
    # Freed without being closed.
    _C.Segment(2)


@case("Segment", calls=50)
def segment_refused(comm, given):
    for wrong in (0, -1, 1 << 20):
        with pytest.raises((ValueError, OSError)):
            _C.Segment(wrong)
    with pytest.raises(TypeError):
        _C.Segment(given.text)


@case("comm_attach", "Comm.close", calls=50)
def attach(comm, given):
    with pair() as (_, comms):
        assert [c.rank for c in comms] == [0, 1]
        comms[0].close()
        assert comms[0].closed
    # Freed without being closed, by itself and with pidfds.
    made = _C.Segment(2)
    pidfd = os.pidfd_open(os.getpid())
    try:
        _C.comm_attach(made.fd, 0, 2, 1.0, pidfds=[pidfd, -1])
    finally:
        os.close(pidfd)


@case("comm_attach", calls=50)
def attach_refused(comm, given):
    made = _C.Segment(2)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for arguments in (
            (null, 0, 2, 1.0),
            (-1, 0, 2, 1.0),
            (made.fd, 2, 2, 1.0),
            (made.fd, 0, 3, 1.0),
            (made.fd, 0, 2, -1.0),
            (made.fd, 0, 2, 1.0, [1]),
        ):
            with pytest.raises((ValueError, OSError, Failed)):
                _C.comm_attach(*arguments)
        for arguments in (
            (given.text, 0, 2, 1.0),
            (made.fd, 0, 2, given.text),
            (made.fd, 0, 2, 1.0, 5),
            (made.fd, 0, 2, 1.0, [given.text, 1]),
            (made.fd,),
        ):
            with pytest.raises(TypeError):
                _C.comm_attach(*arguments)
    finally:
        os.close(null)
        made.close()


class Echo:
    """A transport of a group of two whose other rank says just the same."""

    def __init__(self):
        self.fails = False
        self.block = b""

    def show(self, op, timeout, card, ahead, sizes):
        if self.fails:
            raise ArithmeticError("lost")
        self.block = (card + bytes(ahead or b"")).ljust(sizes[1], b"\0")

    def cards(self, op, timeout, patience):
        return self.block

    def stream(self, op, timeout, patience, *send_sizes_recv):
        send, _, recv = send_sizes_recv
        for view in recv:
            if view is not None:
                view[:] = send

    def abort(self, text):
        """There is nobody to tell."""

    def close(self, ending):
        """There is nothing to leave."""


@case("comm_relay")
def relay(comm, given):
    transport = Echo()
    made = _C.comm_relay(transport, 0, 2, 10.0)
    made.barrier()
    made.gather(given.tree)
    made.gather(given.large[:1000])
    made.gather_object(given.list)
    made.broadcast(given.tensor)
    with pytest.raises(TypeError):
        made.gather(given.text)
    transport.fails = True
    with pytest.raises(ArithmeticError):
        made.gather(given.tree)
    with pytest.raises(Failed):
        made.barrier()
    made.close()


@case("comm_relay")
def relay_refused(comm, given):
    # What a transport lacks or answers wrongly is noticed when it is used.
    made = _C.comm_relay(given.list, 0, 2, 10.0)
    with pytest.raises(AttributeError):
        made.barrier()
    made.close()
    for arguments in ((Echo(), 2, 2, 1.0), (Echo(), 0, 2, -1.0)):
        with pytest.raises(ValueError):
            _C.comm_relay(*arguments)
    for arguments in ((Echo(), given.text, 2, 1.0), (Echo(),)):
        with pytest.raises(TypeError):
            _C.comm_relay(*arguments)


@case("Segment.mark_ended", "Comm.broken", calls=50)
def ended_peer(comm, given):
    with pair() as (made, (first, _)):
        made.mark_ended(1, given.text)
        with pytest.raises(_C.DistributedPeerError, match=given.text):
            first.gather(given.tree)
        with pytest.raises(Failed):
            first.gather_object(given.objects)
        assert first.broken
    with pytest.raises(ValueError):
        made.mark_ended(0, given.text)


@case("Segment.mark_ended", calls=50)
def ended_refused(comm, given):
    made = _C.Segment(2)
    for wrong in (2, -1, 1 << 40):
        with pytest.raises((ValueError, OverflowError)):
            made.mark_ended(wrong, given.text)
    with pytest.raises(TypeError):
        made.mark_ended(0, 5)
    with pytest.raises(TypeError):
        made.mark_ended(given.text, given.text)
    made.close()


@case("Comm.timeout", calls=100)
def timed_out(comm, given):
    for call in ("barrier", "gather", "broadcast", "gather_object"):
        with pair(timeout=0.002) as (_, (first, _)):
            arguments = () if call == "barrier" else (given.tree,)
            with pytest.raises(_C.DistributedTimeoutError):
                getattr(first, call)(*arguments)


@case("Comm.abort", calls=50)
def aborted(comm, given):
    with pair() as (_, (first, second)):
        second.abort(given.text)
        for call in (first, second):
            with pytest.raises(Failed, match=given.text):
                call.gather(given.tree)
            with pytest.raises(Failed):
                call.broadcast_object(given.objects)
        with pytest.raises(TypeError):
            first.abort(5)
