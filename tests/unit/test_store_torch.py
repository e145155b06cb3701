"""The store beside torch's TCPStore: the same answers, whoever serves and who asks."""

import socket
import struct
from datetime import timedelta

import pytest
from torch.distributed import DistStoreError, PrefixStore, QueueEmptyError, TCPStore

from pyaccel import _C

LOCALHOST = "127.0.0.1"
PATIENT = timedelta(seconds=60)
SHORT = timedelta(milliseconds=20)


@pytest.fixture
def ours():
    served = _C.StoreServer()
    served.start()
    yield served
    served.close()


@pytest.fixture
def theirs():
    return TCPStore(LOCALHOST, 0, None, True, timeout=PATIENT)


def torch_client(port):
    return TCPStore(LOCALHOST, port, None, False, timeout=PATIENT)


def attempt(function, *arguments):
    """What a call gives, or the type of its error."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error)


def conversation(store):
    """Every method of torch's client with every kind of answer."""
    return [
        store.set("key", "value"),
        store.get("key"),
        store.set("key", "x" * 100_000),
        len(store.get("key")),
        store.add("count", 5),
        store.add("count", -7),
        store.get("count"),
        store.check(["key", "count"]),
        store.check(["key", "none"]),
        store.check([]),
        store.wait(["key", "count"]),
        store.wait(["key"], SHORT),
        attempt(store.wait, ["key", "none"], SHORT),
        store.num_keys(),
        store.delete_key("key"),
        store.delete_key("key"),
        store.compare_set("new", "", "first"),
        store.compare_set("new", "first", "second"),
        store.compare_set("new", "first", "third"),
        store.compare_set("none", "expected", "desired"),
        store.append("list", "a"),
        store.append("list", "b"),
        store.multi_get(["list", "new"]),
        store.multi_get([]),
        store.multi_set(["m1", "m2"], ["1", ""]),
        store.multi_get(["m1", "m2"]),
        store.queue_push("queue", "first"),
        store.queue_push("queue", "second"),
        store.queue_len("queue"),
        store.queue_len("none"),
        store.check(["queue"]),
        store.wait(["queue"], SHORT),
        store.get("queue"),
        store.delete_key("queue"),
        store.queue_pop("queue"),
        store.queue_pop("queue", False),
        attempt(store.queue_pop, "queue", False),
        store.num_keys(),
        sorted(store.list_keys()),
        store.barrier("barrier", 1),
        attempt(store.barrier, "alone", 2, SHORT),
        store.get("alone"),
        store.barrier("alone", 2),
        store.get("alone"),
        store.has_extended_api(),
        store.clone().get("new"),
        PrefixStore("prefix", store).add("n", 1),
        sorted(store.list_keys()),
    ]


def test_torchs_client_gets_the_same_answers_from_both(ours, theirs):
    found = conversation(torch_client(ours.port))
    assert found == conversation(torch_client(theirs.port))
    assert DistStoreError in found
    assert QueueEmptyError in found


def test_no_method_of_torchs_client_is_missing_here():
    """A newer torch may have more: the conversation above is to be extended then."""
    plain = {"host", "port", "timeout", "set_timeout", "libuvBackend"}
    said = set(conversation.__code__.co_names)
    methods = {name for name in dir(TCPStore) if not name.startswith("_")}
    assert methods - plain <= said


@pytest.fixture(params=["ours", "theirs"])
def server(request):
    return request.getfixturevalue(request.param)


def test_our_client_with_either_server(server):
    client = _C.StoreClient(LOCALHOST, server.port, 60.0)
    other = torch_client(server.port)
    client.set("key", b"ours")
    assert other.get("key") == b"ours"
    other.set("key", "torch's")
    assert client.get("key") == b"torch's"
    assert client.add("count", 2) + other.add("count", 3) == 7
    assert client.check(["key", "count"])
    assert not client.check(["none"])
    assert client.wait(["key"]) is None
    for call in (client.get, lambda key, timeout: client.wait([key], timeout)):
        with pytest.raises(_C.DistributedTimeoutError):
            call("none", timeout=0.02)
    assert client.delete_key("key")
    assert not other.check(["key"])
    assert not client.delete_key("key")
    client.close()


def test_torchs_server_knows_no_secrets(theirs):
    with pytest.raises(_C.DistributedOperationException, match="knows of no secrets"):
        _C.StoreClient(LOCALHOST, theirs.port, 60.0, b"secret")


def test_torchs_client_has_its_own_keys_beside_the_reserved_ones():
    server = _C.StoreServer(secret=b"secret")
    server.start()
    ours = _C.StoreClient(LOCALHOST, server.port, 60.0, b"secret")
    ours.set("pyaccel/key", b"ours")
    other = torch_client(server.port)
    assert conversation(other) == conversation(TCPStore(LOCALHOST, 0, None, True))
    assert not [key for key in other.list_keys() if "pyaccel" in key]
    with pytest.raises(RuntimeError):
        other.check(["pyaccel/key"])
    ours.close()
    server.close()


def frame(op, key, rest=b""):
    return bytes([op]) + struct.pack("<Q", len(key)) + key + rest


VALIDATE = b"\0" + struct.pack("<I", 0x3C85F7CE)
MANY = struct.pack("<Q", (128 << 10) + 1)

# Requests whose answer torch's client would never show: the bytes themselves.
RAW = {
    "add to a text": frame(1, b"/k", struct.pack("<Q", 2) + b"hi")
    + frame(4, b"/k", struct.pack("<q", 1)),
    "add after blanks": frame(1, b"/k", struct.pack("<Q", 6) + b"  12ab")
    + frame(4, b"/k", struct.pack("<q", 1)),
    "add wraps around": frame(4, b"/k", struct.pack("<q", (1 << 63) - 1))
    + frame(4, b"/k", struct.pack("<q", 3)),
    "barrier on a text": frame(1, b"/k", struct.pack("<Q", 2) + b"hi")
    + frame(18, b"/k", struct.pack("<q", 2)),
    "barrier of nobody": frame(18, b"/k", struct.pack("<q", -1)) + frame(3, b"/k"),
    "missing key": frame(3, b"/none"),
    "a key of 8 KiB": frame(3, b"k" * 8192),
    "a longer key": frame(3, b"k" * 8193),
    "too many keys": bytes([5]) + MANY,
    "a cancel of nothing": bytes([12]),
    "a request that is none": bytes([99]),
    "validate again": VALIDATE + bytes([12]),
}


def answer(port, request):
    """All that a server says before it ends the connection or has nothing to say."""
    with socket.create_connection((LOCALHOST, port), 60.0) as peer:
        # The ping's answer comes last; who is thrown out gets none.
        peer.sendall(VALIDATE + request + b"\x0dstop")
        said = b""
        while not said.endswith(b"stop"):
            try:
                more = peer.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                return said + b"<end>"
            said += more
        return said


@pytest.mark.parametrize("name", RAW)
def test_raw_requests_are_answered_alike(ours, theirs, name):
    assert answer(ours.port, RAW[name]) == answer(theirs.port, RAW[name])


def test_a_barrier_lets_all_go(ours):
    requests = VALIDATE + frame(18, b"/barrier", struct.pack("<q", 2)) + b"\x0dcame"
    with socket.create_connection((LOCALHOST, ours.port), 60.0) as peer:
        peer.sendall(requests)
        assert peer.recv(4, socket.MSG_WAITALL) == b"came"
        torch_client(ours.port).barrier("barrier", 2)
        assert peer.recv(1) == b"\0"
