"""The store's client and server from Python: calls, waits, secrets, failures."""

import errno
import gc
import os
import random
import select
import signal
import socket
import struct
import subprocess
import threading
from contextlib import ExitStack

import pytest

from pyaccel import _C

TIMEOUT = 60.0
LOCALHOST = "127.0.0.1"
VALIDATE = b"\0" + struct.pack("<I", 0x3C85F7CE)


@pytest.fixture
def server():
    served = _C.StoreServer()
    served.start()
    yield served
    served.close()


@pytest.fixture
def connect(server):
    """Makes clients of the server, which are closed at the end."""
    clients = []

    def make(**options):
        options.setdefault("timeout", TIMEOUT)
        clients.append(_C.StoreClient(LOCALHOST, server.port, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def is_waiting(port, client):
    """Starts a thread that waits for "go"; returns when its request is under way."""
    errors = []

    def wait():
        try:
            client.add("waiting", 1)
            client.wait(["go"])
            errors.append(None)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    overseer = _C.StoreClient(LOCALHOST, port, TIMEOUT)
    while overseer.add("waiting", 0) == 0:
        pass
    overseer.close()
    return thread, errors


def test_every_call(connect):
    client = connect()
    client.set("key", b"value")
    client.set(key="ключ", value=b"\0\xff")
    assert client.get("key") == b"value"
    assert client.get(key="ключ", timeout=5) == b"\0\xff"
    assert client.add("count", 5) == 5
    assert client.add("count", -7) == -2
    assert client.get("count") == b"-2"
    assert client.check(["key", "count"])
    assert not client.check(("key", "none"))
    assert client.check([])
    assert client.wait(["key", "ключ"]) is None
    assert client.delete_key("key")
    assert not client.delete_key("key")
    client.set("empty", b"")
    assert client.get("empty") == b""


def test_compare_set_takes_the_first(connect):
    client, other = connect(), connect()
    assert client.compare_set("key", b"", b"first") == b"first"
    assert other.compare_set("key", b"", b"second") == b"first"
    assert other.compare_set("key", b"first", b"third") == b"third"
    assert client.compare_set("none", b"expected", b"desired") == b"expected"
    assert not client.check(["none"])


def test_a_value_may_have_8_mebibytes(connect):
    client = connect()
    value = random.Random(1).randbytes(8 << 20)
    client.set("key", value)
    assert client.get("key") == value
    with pytest.raises(ValueError, match="8388609 bytes for the key 'key'"):
        client.set("key", value + b"x")
    with pytest.raises(ValueError, match="8388609 bytes for the key 'key'"):
        client.compare_set("key", b"", value + b"x")
    with pytest.raises(ValueError, match="a key of 8192 bytes"):
        client.get("k" * 8192)
    assert client.check(["key"])


def test_get_waits_for_another_client(connect):
    client, other = connect(), connect()
    found = []
    thread = threading.Thread(target=lambda: found.append(client.get("late")))
    thread.start()
    other.set("late", b"here")
    thread.join()
    assert found == [b"here"]


def test_a_wait_that_is_not_fulfilled_leaves_the_client_usable(connect, server):
    client = connect(timeout=0.05)
    for call in (lambda: client.get("none"), lambda: client.wait(["none"], 0.02)):
        with pytest.raises(_C.DistributedTimeoutError, match="the key 'none' after"):
            call()
    with pytest.raises(_C.DistributedTimeoutError, match=f"port {server.port}"):
        client.wait(["none", "neither"])
    client.set("none", b"some")
    assert client.get("none") == b"some"


def test_a_signal_handler_ends_a_wait(connect):
    class Alarm(Exception):
        pass

    def ring(number, frame):
        raise Alarm

    client = connect()
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Alarm):
            client.wait(["never"])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert client.add("still", 1) == 1


def test_close_ends_the_wait_of_another_thread(connect, server):
    client = connect()
    thread, errors = is_waiting(server.port, client)
    client.close()
    thread.join()
    assert "closed" in str(errors[0])
    with pytest.raises(ValueError, match="get: the client of the store is closed"):
        client.get("key")
    client.close()


def test_the_end_of_the_server_ends_all_waits(connect, server):
    clients = [connect() for _ in range(3)]
    waiting = [is_waiting(server.port, client) for client in clients]
    server.close()
    for thread, errors in waiting:
        thread.join()
        assert isinstance(errors[0], _C.DistributedPeerError)
        assert "closed the connection" in str(errors[0])
    with pytest.raises(_C.DistributedOperationException, match="open another"):
        clients[0].get("key")


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind((LOCALHOST, 0))
        port = taken.getsockname()[1]
        with pytest.raises(_C.DistributedTimeoutError, match=f"port {port}: nobody"):
            _C.StoreClient(LOCALHOST, port, 0.05)


def test_who_listens_is_no_store():
    with socket.create_server((LOCALHOST, 0)) as other:
        port = other.getsockname()[1]

        def answer():
            with other.accept()[0] as peer:
                peer.sendall(b"220 hello")
                peer.recv(1)

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(_C.DistributedOperationException, match="is no store"):
            _C.StoreClient(LOCALHOST, port, TIMEOUT)
        answering.join()


def test_a_client_may_come_before_the_server():
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        port = probe.getsockname()[1]
    found = []

    def come():
        client = _C.StoreClient(LOCALHOST, port, TIMEOUT)
        found.append(client.add("n", 1))
        client.close()

    thread = threading.Thread(target=come)
    thread.start()
    server = _C.StoreServer(port=port)
    server.start()
    thread.join()
    server.close()
    assert found == [1]


def test_a_taken_port_is_an_os_error(server):
    with pytest.raises(OSError, match=f"port {server.port}") as caught:
        _C.StoreServer(port=server.port)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.set("key", "text"), TypeError),
        (lambda c: c.set(b"key", b"value"), TypeError),
        (lambda c: c.set("key"), TypeError),
        (lambda c: c.compare_set("key", b"", "text"), TypeError),
        (lambda c: c.compare_set("key", b""), TypeError),
        (lambda c: c.check("key"), TypeError),
        (lambda c: c.wait([1]), TypeError),
        (lambda c: c.wait(7), TypeError),
        (lambda c: c.add("key", 1 << 64), OverflowError),
        (lambda c: c.get("key", 0), ValueError),
        (lambda c: c.get("key", "soon"), TypeError),
        (lambda c: c.check(["k"] * ((128 << 10) + 1)), ValueError),
        (lambda c: c.get("\ud800"), UnicodeEncodeError),
    ],
)
def test_wrong_arguments(connect, call, error):
    client = connect()
    with pytest.raises(error):
        call(client)
    assert client.add("n", 1) == 1


def test_wrong_arguments_of_the_types():
    with pytest.raises(ValueError, match="port 70000"):
        _C.StoreServer(port=70000)
    with pytest.raises(ValueError, match="257 bytes"):
        _C.StoreServer(secret=b"x" * 257)
    with pytest.raises(ValueError, match=r"no\.such\.host\.invalid"):
        _C.StoreServer("no.such.host.invalid")
    with pytest.raises(ValueError, match="timeout"):
        _C.StoreClient(LOCALHOST, 1, 0.0)


def test_the_secret_opens_the_reserved_keys():
    server = _C.StoreServer(secret=b"s3cret")
    server.start()
    ours = _C.StoreClient(LOCALHOST, server.port, TIMEOUT, secret=b"s3cret")
    stranger = _C.StoreClient(LOCALHOST, server.port, TIMEOUT)
    ours.set("pyaccel/key", b"ours")
    stranger.set("key", b"anyone's")
    assert ours.get("key") == b"anyone's"
    with pytest.raises(_C.DistributedPeerError, match="refuses the request"):
        stranger.get("pyaccel/key")
    with pytest.raises(_C.DistributedOperationException, match="another secret"):
        _C.StoreClient(LOCALHOST, server.port, TIMEOUT, b"guess")
    assert ours.get("pyaccel/key") == b"ours"
    for client in (ours, stranger):
        client.close()
    server.close()


def test_nonsense_ends_only_who_says_it(connect, server):
    client = connect()
    dice = random.Random(7)
    for i in range(60):
        with socket.create_connection((LOCALHOST, server.port), TIMEOUT) as peer:
            try:
                peer.sendall(VALIDATE * (i % 2) + dice.randbytes(dice.randint(1, 4000)))
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
            except ConnectionError:
                pass
        assert client.add("alive", 1) == i + 1


def test_256_clients(connect, server):
    clients = [connect() for _ in range(256)]
    for rank, client in enumerate(clients):
        client.set(f"rank/{rank}", str(rank).encode())
    keys = [f"rank/{rank}" for rank in range(256)]
    for rank, client in enumerate(clients):
        client.wait(keys)
        assert client.get(keys[-1 - rank]) == str(255 - rank).encode()


def test_a_loop_of_the_callers_own_drives_it():
    server = _C.StoreServer()
    done = []

    def talk():
        client = _C.StoreClient(LOCALHOST, server.port, TIMEOUT)
        done.append(client.add("n", 3))
        client.close()

    thread = threading.Thread(target=talk)
    thread.start()
    poller = select.poll()
    poller.register(server.poll_fd, select.POLLIN)
    while not done:
        if poller.poll(10):
            server.step()
    thread.join()
    server.close()
    server.close()
    assert (server.port, server.poll_fd) == (-1, -1)
    for call in (server.step, server.start):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_started_server_takes_no_steps(server):
    with pytest.raises(ValueError, match="own thread"):
        server.step()
    server.start()


def in_child(function):
    """What `function` returns in a forked child: a text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, str(function()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_no_part_in_it(connect, server):
    client = connect()
    client.set("key", b"value")

    def use():
        try:
            client.get("key")
        except RuntimeError as error:
            return error

    assert "forked" in in_child(use)
    assert in_child(lambda: (client.close(), server.close())[0]) == "None"
    assert client.get("key") == b"value"
    assert connect().get("key") == b"value"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_cannot_step():
    server = _C.StoreServer()

    def step():
        try:
            server.step()
        except RuntimeError as error:
            server.close()
            return error

    assert "forked" in in_child(step)
    server.step()
    server.close()


def test_a_program_that_is_executed_inherits_nothing(connect, server):
    connect()
    own = {os.readlink(f"/proc/self/fd/{fd}") for fd in fds()}
    own = {name for name in own if name.startswith(("socket:", "anon_inode:"))}
    assert len(own) >= 4  # listener, epoll, eventfd, a connection's two ends
    command = ["ls", "-l", "/proc/self/fd"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, close_fds=False
    )
    assert not [name for name in own if name in result.stdout]


def fds():
    """The numbers of this process's open descriptors."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # that of the listing itself
            continue
        found.append(int(fd))
    return found


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_nothing_is_leaked():
    def once():
        with ExitStack() as stack:
            server = _C.StoreServer(secret=b"x")
            stack.callback(server.close)
            server.start()
            client = _C.StoreClient(LOCALHOST, server.port, TIMEOUT, b"x")
            stack.callback(client.close)
            client.set("key", b"v" * 100_000)
            client.get("key")
            with pytest.raises(_C.DistributedTimeoutError):
                client.get("none", 0.001)
            with pytest.raises(_C.DistributedOperationException):
                _C.StoreClient(LOCALHOST, server.port, TIMEOUT, b"y")
            with pytest.raises(OSError):
                _C.StoreServer(port=server.port)
            client.set("rest", b"left in the table")

    once()
    gc.collect()
    descriptors, threads, memory = len(fds()), threading.active_count(), resident()
    tasks = len(os.listdir("/proc/self/task"))  # other tests' libraries have some too
    for _ in range(100):
        once()
    gc.collect()
    assert len(fds()) == descriptors
    assert threading.active_count() == threads
    # A thread that has been joined may be listed for a moment longer.
    assert len(os.listdir("/proc/self/task")) <= tasks + 1
    assert resident() - memory < 4 << 20
