"""Leak cases of the key-value store: a server and clients in one process."""

import select
from contextlib import closing, contextmanager

import pytest

from pyaccel import _C
from tests.leaks.table import case

Failed = (_C.DistributedOperationException, OSError, ValueError)
HOST = "127.0.0.1"


@contextmanager
def served(**options):
    """A server that its own thread drives, and a client of it."""
    with closing(_C.StoreServer(**options)) as server:
        server.start()
        secret = options.get("secret", b"")
        with closing(_C.StoreClient(HOST, server.port, 10.0, secret)) as client:
            yield server, client


@case("StoreServer", "StoreServer.start", "StoreServer.port", "StoreServer.close")
def server(comm, given):
    made = _C.StoreServer(host=HOST, port=0, secret=b"word")
    assert made.port > 0
    made.start()
    made.close()
    made.close()
    for call in (made.start, made.step):
        with pytest.raises(ValueError):
            call()
    # Freed without being closed, with a thread and without.
    _C.StoreServer().start()
    _C.StoreServer()


@case("StoreServer")
def server_refused(comm, given):
    with closing(_C.StoreServer()) as first:
        for arguments in ((HOST, first.port), ("no such host.invalid",), (HOST, -1)):
            with pytest.raises(Failed):
                _C.StoreServer(*arguments)
    for arguments in ((5,), (HOST, given.text), (HOST, 0, given.text)):
        with pytest.raises(TypeError):
            _C.StoreServer(*arguments)


@case("StoreServer.step", "StoreServer.poll_fd")
def server_driven_by_hand(comm, given):
    with closing(_C.StoreServer()) as made:
        made.step()
        assert not select.select([made.poll_fd], [], [], 0)[0]
        made.start()
        with pytest.raises(ValueError):
            made.step()


@case("StoreClient", "StoreClient.close", calls=50)
def client(comm, given):
    with served(secret=b"word") as (server, first):
        # Freed without being closed.
        _C.StoreClient(HOST, server.port, timeout=10.0, secret=b"word")
        first.close()
        first.close()
        for call in (lambda: first.get("key"), lambda: first.check(["key"])):
            with pytest.raises(ValueError):
                call()


@case("StoreClient", calls=30)
def client_refused(comm, given):
    with served(secret=b"word") as (server, _):
        with pytest.raises(_C.DistributedOperationException):
            _C.StoreClient(HOST, server.port, 10.0, b"guess")
        for arguments in (
            (given.text, server.port, given.text),
            (HOST, given.text, 1.0),
            (HOST,),
        ):
            with pytest.raises(TypeError):
                _C.StoreClient(*arguments)
        port = server.port
    with pytest.raises(_C.DistributedTimeoutError):
        _C.StoreClient(HOST, port, 0.01)


@case(
    *("StoreClient.set", "StoreClient.get", "StoreClient.add", "StoreClient.check"),
    *("StoreClient.wait", "StoreClient.delete_key", "StoreClient.compare_set"),
    calls=50,
)
def calls(comm, given):
    with served() as (_, client):
        value = given.text.encode() * 1000
        client.set(given.text, value)
        assert client.get(given.text) == value
        assert client.get(given.text, timeout=5.0) == value
        assert client.compare_set(given.text, b"", b"other") == value
        assert client.add("number", 2) == 2
        assert client.check([given.text, "number"])
        assert not client.check(["absent"])
        client.wait([given.text, "number"])
        assert client.delete_key(given.text)
        assert not client.delete_key(given.text)


@case(
    *("StoreClient.set", "StoreClient.get", "StoreClient.add", "StoreClient.check"),
    *("StoreClient.wait", "StoreClient.delete_key", "StoreClient.compare_set"),
    calls=30,
)
def calls_refused(comm, given):
    with served() as (server, client):
        with pytest.raises(_C.DistributedTimeoutError):
            client.get("absent", 0.002)
        with pytest.raises(_C.DistributedTimeoutError):
            client.wait(["absent"], 0.002)
        for call in (
            lambda: client.set(5, b"value"),
            lambda: client.set("key", given.text),
            lambda: client.get(5),
            lambda: client.get("key", given.text),
            lambda: client.add("key", given.text),
            lambda: client.compare_set("key", b"", given.text),
            lambda: client.check(given.text),
            lambda: client.check([given.text, 5]),
            lambda: client.wait(given.text),
            lambda: client.delete_key(5),
        ):
            with pytest.raises(TypeError):
                call()
        server.close()
        with pytest.raises(Failed):
            client.get("key")
        with pytest.raises(Failed):
            client.add("key", 1)
