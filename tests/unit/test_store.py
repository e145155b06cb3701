"""The store that processes meet in: where it is, and who is missing."""

import time

import pytest
from torch.distributed import HashStore

from pyaccel import _store
from pyaccel._world import World
from pyaccel.utils.operations import DistributedPeerError, DistributedTimeoutError


def test_address(alone):
    alone("MASTER_ADDR", "10.0.0.1")
    assert _store.address() == ("10.0.0.1", 29500)
    alone("MASTER_PORT", "1234")
    assert _store.address() == ("10.0.0.1", 1234)


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_wrong_port(alone, port):
    alone("MASTER_ADDR", "10.0.0.1")
    alone("MASTER_PORT", port)
    with pytest.raises(ValueError, match=f"MASTER_PORT is '{port}': set it to"):
        _store.address()


@pytest.mark.usefixtures("alone")
def test_no_address():
    with pytest.raises(ValueError, match="MASTER_ADDR is not set: set it to"):
        _store.address()


def test_parts_do_not_meet(alone):
    store = HashStore()
    alone("TORCHELASTIC_RUN_ID", "run")
    _store.own_part(store, 1).set("key", "first")
    second = _store.own_part(store, 2)
    assert not _store.has(second, "key")
    alone("TORCHELASTIC_RESTART_COUNT", "1")
    assert not _store.has(_store.own_part(store, 1), "key")


def test_exchange():
    store = HashStore()
    store.set("host/1", "one")
    deadline = time.monotonic() + 20
    found = _store.exchange(store, World(0, 2), "host", "zero", deadline)
    assert found == ["zero", "one"]


def test_who_is_missing_is_named():
    deadline = time.monotonic() + 0.1
    with pytest.raises(DistributedTimeoutError, match="rank 1, 2 did not come within"):
        _store.exchange(HashStore(), World(0, 3), "host", "zero", deadline)


def test_a_store_that_is_gone():
    class Gone(HashStore):
        def wait(self, *args):
            raise RuntimeError("connection reset")

        def check(self, keys):
            raise RuntimeError("connection reset")

    with pytest.raises(DistributedPeerError, match="the process that serves the store"):
        _store.exchange(Gone(), World(1, 2), "host", "x", time.monotonic() + 1)
