"""Finding the store that the variables name."""

import time

import pytest

from pyaccel import _C, _store
from pyaccel._world import World


@pytest.fixture
def launched(monkeypatch):
    """The variables of a worker whose launcher serves the store."""
    server = _C.StoreServer(secret=b"open")
    server.start()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.setenv("PYACCEL_SECRET", f"{server.port}:{b'open'.hex()}")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    yield
    server.close()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_launchers_store_is_not_looked_for(launched, monkeypatch, rank):
    """Each look would be a connection more in every set-up."""

    def look(*arguments):
        raise AssertionError("it was looked for")

    for name in ("_listens", "_client", "_check_answers"):
        monkeypatch.setattr(_store, name, look)
    world = World(rank, 2, rank, 2, control_fd=3)
    store = _store.open_store(world, time.monotonic() + 60)
    store.set("key", "value")
    assert store.get("key") == b"value"


def test_without_its_descriptor_it_is_looked_for(launched, monkeypatch):
    """A process that only inherited the variables may find something else there."""
    looked = []
    monkeypatch.setattr(_store, "_check_answers", lambda *arguments: looked.append(1))
    _store.open_store(World(0, 2, 0, 2), time.monotonic() + 60)
    assert looked == [1]
