"""How long does it take until one client of a store has read what another has set?"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import cycle
from typing import IO, Any

from benchmarks.harness.case import LIBRARIES, Case, Goal, Own
from benchmarks.harness.contestants import BenchmarkError
from benchmarks.harness.session import FLOOR, Session

HOST = "127.0.0.1"
TIMEOUT_S = 60.0

# A set, and a get by the next client: `hand_over(i)` gives what was read.
HandOver = Callable[[bytes], bytes]


def serve(contestant: str) -> tuple[int, Any]:
    """Start a server in this process: its port, and what keeps it."""
    if contestant == "pyaccel":
        from pyaccel import _C

        server = _C.StoreServer()
        server.start()
        return server.port, server
    if contestant == "accelerate":
        from torch.distributed import TCPStore

        store = TCPStore(HOST, 0, None, True)
        return store.port, store
    listener = socket.create_server((HOST, 0))
    return listener.getsockname()[1], listener


def echo(listener: socket.socket) -> None:
    """The floor's server: says again what its only client says."""
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(ConnectionError):
        while message := peer.recv(4096):
            peer.sendall(message)


def connect(contestant: str, port: int, clients: int) -> HandOver:
    """Connect so many clients, who follow each other."""
    if contestant == FLOOR:
        peer = socket.create_connection((HOST, port), TIMEOUT_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return lambda value: peer.sendall(value) or peer.recv(4096)
    if contestant == "pyaccel":
        from pyaccel import _C

        stores = [_C.StoreClient(HOST, port, TIMEOUT_S) for _ in range(clients)]
    else:
        from torch.distributed import TCPStore

        timeout = timedelta(seconds=TIMEOUT_S)
        stores = [
            TCPStore(HOST, port, None, False, timeout=timeout) for _ in range(clients)
        ]
    turns = cycle(zip(stores, [*stores[1:], stores[0]], strict=True))

    def hand_over(value: bytes) -> bytes:
        one, other = next(turns)
        one.set("key", value)
        return other.get("key")

    return hand_over


def ask(contestant: str, port: int, clients: int) -> None:
    """The clients' process: for each number that it reads, writes so many times."""
    hand_over = connect(contestant, port, clients)
    right = all(
        eventually(hand_over, f"value {i}".encode()) for i in range(min(clients, 32))
    )
    print(json.dumps(right), flush=True)
    clock = time.perf_counter_ns
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = clock()
            hand_over(b"value")
            times.append(clock() - start)
        print(json.dumps(times), flush=True)


def eventually(hand_over: HandOver, value: bytes) -> bool:
    """Whether the value is read; a set may reach the server after another's get."""
    return any(hand_over(value) == value for _ in range(100))


class Store:
    """A contestant: a server, and a process with all its clients, which take turns.

    accelerate's store is torch's TCPStore.
    """

    def __init__(self, stack: contextlib.ExitStack, contestant: str, clients: int):
        self.stack = stack
        self.contestant = contestant
        self.server = self.start("serve", contestant)
        port = self.answer(self.server)
        self.clients = self.start("ask", contestant, str(port), str(clients))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """This file as a process, which ends with the case."""
        command = [sys.executable, "-m", "benchmarks.store", *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.stack.callback(process.communicate)
        self.stack.callback(process.kill)
        return process

    def answer(self, process: subprocess.Popen[str]) -> Any:
        """The next line of a process."""
        line = pipe(process.stdout).readline()
        if not line:
            raise BenchmarkError(f"{self.contestant}: {process.args} ended")
        return json.loads(line)

    def check(self) -> None:
        """What one client sets another one reads."""
        if not self.answer(self.clients):
            raise BenchmarkError(f"{self.contestant}: another value was read")

    def run(self, warm_up: int, samples: int) -> list[float]:
        """Nanoseconds of each set and get."""
        pipe(self.clients.stdin).write(f"{warm_up + samples}\n")
        pipe(self.clients.stdin).flush()
        return [float(sample) for sample in self.answer(self.clients)[warm_up:]]


def pipe(stream: IO[str] | None) -> IO[str]:
    """A stream that is there, since the process was started with pipes."""
    if stream is None:
        raise BenchmarkError("a process without pipes")
    return stream


CLIENTS = (2, 256)
CASES = tuple(
    Case(
        f"set, get by the next of {clients} clients",
        ranks=2,
        floor=Own("round trip of a socket"),
        goal=Goal(times=1),
    )
    for clients in CLIENTS
)


def run(session: Session) -> None:
    for case, clients in zip(CASES, CLIENTS, strict=True):
        with contextlib.ExitStack() as stack:
            makers = {
                contestant: partial(Store, stack, contestant, clients)
                for contestant in (*LIBRARIES, FLOOR)
            }
            session.contest(__name__, case, makers)


def main(role: str, contestant: str, *rest: str) -> None:
    """A process of a contestant."""
    if role == "ask":
        port, clients = rest
        ask(contestant, int(port), int(clients))
        return
    port, kept = serve(contestant)
    print(port, flush=True)
    if contestant == FLOOR:
        echo(kept)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
