"""Handing a segment round, with threads as ranks and a pretended communicator."""

import errno
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import HashStore

from pyaccel import _C, _rendezvous
from pyaccel._world import World
from pyaccel.utils.operations import DistributedPeerError, DistributedTimeoutError

TIMEOUT = 20.0


class Segment:
    """A file in memory, of which only the identity matters here."""

    def __init__(self, size):
        self.fd = os.memfd_create("segment")

    def close(self):
        os.close(self.fd)


class Attached(tuple):
    """Instead of a communicator: what identifies the segment, and the descriptors."""

    closed = 0

    def close(self):
        Attached.closed += 1


def attach(fd, rank, size, timeout, pidfds):
    processes = [os.stat(f"/proc/self/fd/{pidfd}") for pidfd in pidfds if pidfd >= 0]
    return Attached((os.fstat(fd).st_ino, len(pidfds), len(processes)))


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    monkeypatch.setattr(_C, "Segment", Segment, raising=False)
    monkeypatch.setattr(_C, "comm_attach", attach, raising=False)


@pytest.fixture
def store():
    made = HashStore()
    made.set_timeout(timedelta(seconds=TIMEOUT))
    return made


def meet(store, rank, size, seconds=TIMEOUT):
    return _rendezvous.meet(store, World(rank, size), time.monotonic() + seconds, 1.0)


def meet_all(store, size, seconds=TIMEOUT):
    """What each rank got, or the exception that it raised."""
    with ThreadPoolExecutor(size) as pool:
        futures = [
            pool.submit(meet, store, rank, size, seconds) for rank in range(size)
        ]
        return [future.exception() or future.result() for future in futures]


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("batch", [1, 2, 200])
def test_everybody_gets_the_segment(store, monkeypatch, batch):
    monkeypatch.setattr(_rendezvous, "_BATCH", batch)
    before = open_descriptors()
    results = meet_all(store, 5)
    assert results == [(results[0][0], 5, 5)] * 5
    assert open_descriptors() == before


def test_without_process_descriptors(store, monkeypatch):
    def refuse(pid):
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    results = meet_all(store, 3)
    assert results == [(results[0][0], 3, 0)] * 3


def test_strangers_are_not_served(store, monkeypatch):
    """Who shows no secret, nothing or no possible rank neither joins nor hinders."""
    monkeypatch.setattr(_rendezvous, "_HELLO_TIMEOUT", 0.05)
    # The first to connect are strangers, because rank 1 looks for the socket later.
    met = threading.Event()
    call = _rendezvous._call

    def call_later(*args):
        met.wait(TIMEOUT)
        return call(*args)

    monkeypatch.setattr(_rendezvous, "_call", call_later)
    with ThreadPoolExecutor(2) as pool:
        ranks = [pool.submit(meet, store, rank, 2) for rank in range(2)]
        store.wait(["socket"], timedelta(seconds=TIMEOUT))
        offer = json.loads(store.get("socket"))
        secret = bytes.fromhex(offer["secret"])
        strangers = [b"", b"short", _rendezvous._HELLO.pack(bytes(32), 1)]
        strangers += [_rendezvous._HELLO.pack(secret, 0), None]
        for message in strangers:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.connect(f"\0{offer['name']}")
                if message is not None:
                    stranger.send(message)
                # Rank 0 lets go of it, or keeps it and gives nothing.
        met.set()
        results = [future.result(TIMEOUT) for future in ranks]
    assert results == [(results[0][0], 2, 2)] * 2


def test_a_shortage_of_memory_is_everybodys_error(store, monkeypatch):
    def short(size):
        raise OSError(errno.ENOMEM, "needs 4096 bytes")

    monkeypatch.setattr(_C, "Segment", short)
    first, *others = meet_all(store, 3)
    assert isinstance(first, OSError)
    for other in others:
        assert isinstance(other, DistributedPeerError)
        assert "rank 0" in str(other)
        assert "needs 4096 bytes" in str(other)


def test_a_rank_that_cannot_attach_leaves_nobody_attached(store, monkeypatch):
    """All of them are told, and can go on together over torch.distributed."""

    def attach_or_fail(fd, rank, *others):
        if rank == 1:
            raise OSError(errno.ENOMEM, "no address space")
        return attach(fd, rank, *others)

    monkeypatch.setattr(_C, "comm_attach", attach_or_fail)
    monkeypatch.setattr(Attached, "closed", 0)
    for error in meet_all(store, 3):
        assert isinstance(error, _rendezvous.CannotShare)
        assert "rank 1 cannot attach" in str(error)
        assert "no address space" in str(error)
    assert Attached.closed == 2


def test_a_rank_that_cannot_connect_is_everybodys_error(store, monkeypatch):
    def fail(*args):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "another namespace")

    monkeypatch.setattr(_rendezvous, "_take", fail)
    for error in meet_all(store, 2):
        assert isinstance(error, DistributedPeerError)
        assert "rank 1 got no segment from rank 0" in str(error)


def test_a_rank_that_does_not_connect_is_named(store, monkeypatch):
    monkeypatch.setattr(_rendezvous, "_call", lambda *args: [0])
    first, *_ = meet_all(store, 3, seconds=0.5)
    assert isinstance(first, DistributedTimeoutError)
    assert "rank 1, 2 did not connect to rank 0" in str(first)


def test_a_rank_0_that_offers_nothing(store, monkeypatch):
    monkeypatch.setattr(_rendezvous, "_serve", lambda *args: [0])
    _, second = meet_all(store, 2, seconds=0.5)
    assert isinstance(second, DistributedTimeoutError)
    assert "rank 0 came but made no segment" in str(second)


def test_hosts_are_named(store, monkeypatch):
    names = iter(['["a", "net", "one"]', '["b", "net", "two"]'])
    monkeypatch.setattr(_rendezvous, "_this_host", lambda: next(names))
    for error in meet_all(store, 2):
        assert isinstance(error, _rendezvous.CannotShare)
        assert "host one (boot a" in str(error) or "host two (boot b" in str(error)
