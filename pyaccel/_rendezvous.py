"""Hands one memory segment to every process of a host that share only a store.

Rank 0 makes the segment and listens on a Unix socket; the store carries the socket's
name and a secret. Each of the others connects, shows the secret and sends a descriptor
of its own process; when all have come, rank 0 sends everybody the segment and the
descriptors of all processes:

    rank r -> rank 0    secret, r                   + [pidfd of r]
    rank 0 -> rank r    one byte a rank: has pidfd  + [segment]
                        b"pidfds" as often as needed + [up to 200 pidfds]

The socket's name is in the abstract space of Linux: no file is left behind, even by a
kill, and a process of another network namespace cannot connect.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import struct
from contextlib import ExitStack
from datetime import timedelta

from torch.distributed import Store

from . import _C
from ._store import FAILED, Keys, boot_id, ended, exchange, has, left
from ._world import World

_HELLO = struct.Struct("!32sI")
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid, as the kernel fills them in
_TIMEVAL = struct.Struct("ll")  # seconds and microseconds
_BATCH = 200  # the kernel passes at most 253 descriptors in one message
_HELLO_TIMEOUT = 10.0  # seconds for a connected process to show itself
# What a sandbox answers to memfd_create when it forbids it.
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_GLANCE = 0.25  # seconds between two looks at whether a rank gave up


class CannotShare(Exception):
    """The ranks cannot share memory; its text says why. Raised by all of them."""


def meet(store: Keys | Store, world: World, deadline: float, timeout: float) -> _C.Comm:
    """The communicator of all ranks of `world` over memory that they share.

    Waits for every rank until `deadline`. An error of one is raised by all. Raises
    CannotShare where the ranks are on several hosts or the system refuses.
    """
    _check_one_host(exchange(store, world, "host", _this_host(), deadline))
    with ExitStack() as resources:
        if world.rank == 0:
            fds = _serve(store, world, deadline, resources)
        else:
            fds = _call(store, world, deadline, resources)
        return _attach(store, world, deadline, timeout, fds)


def _attach(
    store: Keys | Store, world: World, deadline: float, timeout: float, fds: list[int]
) -> _C.Comm:
    """The communicator over the segment, once every rank has said that it could attach.

    Otherwise those that could would go on, and wait for the others in vain.
    """
    segment_fd, *pidfds = fds
    with ExitStack() as undo:
        refusal = ""
        try:
            comm = _C.comm_attach(segment_fd, world.rank, world.size, timeout, pidfds)
            undo.callback(comm.close)
        except (OSError, MemoryError) as error:
            refusal = (
                f"rank {world.rank} cannot attach to the memory of rank 0: {error}"
            )
        refusals = exchange(store, world, "attached", refusal, deadline)
        if any(refusals):
            raise CannotShare(next(filter(None, refusals)))
        undo.pop_all()
        return comm


def _this_host() -> str:
    """What processes that can share memory and sockets have in common, and a name."""
    network = os.readlink("/proc/self/ns/net")
    return json.dumps([boot_id(), network, socket.gethostname()])


def _check_one_host(hosts: list[str]) -> None:
    first, *others = (json.loads(host) for host in hosts)
    for rank, host in enumerate(others, start=1):
        if host[:2] != first[:2]:
            raise CannotShare(
                f"rank 0 runs on host {first[2]} (boot {first[0]}, {first[1]}) and "
                f"rank {rank} on host {host[2]} (boot {host[0]}, {host[1]})"
            )


def _serve(
    store: Keys | Store, world: World, deadline: float, resources: ExitStack
) -> list[int]:
    """Rank 0's part: collects everybody, then sends everything to everybody."""
    try:
        segment = _C.Segment(world.size)
    except (OSError, MemoryError) as error:
        if getattr(error, "errno", None) in _REFUSED:
            store.set("socket", json.dumps({"refused": str(error)}))
            raise CannotShare(str(error)) from error
        store.set("socket", json.dumps({"error": f"rank 0: {error}"}))
        raise
    resources.callback(segment.close)
    name = f"pyaccel-{secrets.token_hex(16)}"
    secret = secrets.token_bytes(32)
    listener = resources.enter_context(
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    )
    listener.bind(f"\0{name}")
    listener.listen(world.size)
    store.set("socket", json.dumps({"name": name, "secret": secret.hex()}))

    peers: dict[int, socket.socket] = {}
    pidfds = [-1] * world.size
    pidfds[0] = _own_pidfd(resources)
    while len(peers) < world.size - 1:
        peer = _next_peer(store, listener, world, peers, deadline)
        resources.enter_context(peer)
        hello = _receive_hello(peer, deadline, resources)
        if hello is None or not secrets.compare_digest(hello[0], secret):
            continue  # Not one of ours; the others are still awaited.
        _, rank, pidfd = hello
        if 0 < rank < world.size and rank not in peers:
            peers[rank], pidfds[rank] = peer, pidfd

    present = bytes(pidfd >= 0 for pidfd in pidfds)
    passed = [pidfd for pidfd in pidfds if pidfd >= 0]
    for rank, peer in peers.items():
        peer.settimeout(left(deadline))
        try:
            socket.send_fds(peer, [present], [segment.fd])
            for start in range(0, len(passed), _BATCH):
                socket.send_fds(peer, [b"pidfds"], passed[start : start + _BATCH])
        except OSError as error:
            raise _C.DistributedPeerError(
                f"set-up of {world.size} processes: rank {rank} came but took no "
                f"segment from rank 0: {error}"
            ) from error
    return [segment.fd, *pidfds]


def _next_peer(store, listener, world, peers, deadline) -> socket.socket:
    """The next connection of a process of this user."""
    while True:
        seconds = left(deadline)
        listener.settimeout(min(seconds, _GLANCE))
        try:
            peer, _ = listener.accept()
        except TimeoutError:
            if has(store, "gave up"):
                raise _C.DistributedPeerError(store.get("gave up").decode()) from None
            if seconds <= _GLANCE:
                missing = set(range(1, world.size)) - set(peers)
                raise _C.DistributedTimeoutError(
                    f"set-up of {world.size} processes: rank "
                    f"{', '.join(map(str, sorted(missing)))} did not connect to rank 0 "
                    "in time"
                ) from None
            continue
        if _user_of(peer) == os.geteuid():
            return peer
        peer.close()


def _call(
    store: Keys | Store, world: World, deadline: float, resources: ExitStack
) -> list[int]:
    """The part of every other rank: shows itself to rank 0 and takes what it sends."""
    try:
        store.wait(["socket"], timedelta(seconds=left(deadline)))
        offer = json.loads(store.get("socket"))
    except FAILED as error:
        if not has(store, f"host/{world.rank}"):
            raise ended(world) from error
        raise _C.DistributedTimeoutError(
            f"set-up of {world.size} processes: rank 0 came but made no segment in time"
        ) from error
    if "refused" in offer:
        raise CannotShare(offer["refused"])
    if "error" in offer:
        raise _C.DistributedPeerError(offer["error"])
    try:
        return _take(offer, world, deadline, resources)
    except OSError as error:
        text = (
            f"set-up of {world.size} processes: rank {world.rank} got no segment from "
            f"rank 0 over its Unix socket: {error}"
        )
        store.set("gave up", text)
        raise _C.DistributedPeerError(text) from error


def _take(
    offer: dict[str, str], world: World, deadline: float, resources: ExitStack
) -> list[int]:
    """The segment and everybody's process descriptors, -1 for one that has none."""
    server = resources.enter_context(
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    )
    _connect(server, offer["name"], deadline)
    if _user_of(server) != os.geteuid():
        raise PermissionError("the socket belongs to another user")
    pidfd = _own_pidfd(resources)
    hello = _HELLO.pack(bytes.fromhex(offer["secret"]), world.rank)
    socket.send_fds(server, [hello], [pidfd] if pidfd >= 0 else [])

    present, fds = _receive(server, world.size, 1, resources)
    if len(present) != world.size or len(fds) != 1:
        raise ConnectionAbortedError("rank 0 ended the connection")
    count = sum(present)
    received: list[int] = []
    while len(received) < count:
        message, batch = _receive(server, len(b"pidfds"), _BATCH, resources)
        if not message or not batch:
            raise ConnectionAbortedError("rank 0 ended the connection")
        received += batch
    pidfds = iter(received)
    return [fds[0], *(next(pidfds) if there else -1 for there in present)]


def _connect(server: socket.socket, name: str, deadline: float) -> None:
    """Connects, and waits while more than rank 0 has room for are before this one."""
    # Python's own timeout would make the socket non-blocking, where a queue that is
    # full is an error at once.
    seconds = left(deadline)
    timeval = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
    server.connect(f"\0{name}")
    server.settimeout(left(deadline))


def _receive_hello(peer, deadline, resources) -> tuple[bytes, int, int] | None:
    """Secret, rank and process descriptor (or -1) of a peer; None if it was silent."""
    peer.settimeout(min(left(deadline), _HELLO_TIMEOUT))
    try:
        message, fds = _receive(peer, _HELLO.size, 1, resources)
    except OSError:
        return None
    if len(message) != _HELLO.size:
        return None
    return *_HELLO.unpack(message), fds[0] if fds else -1


def _receive(peer, nbytes, max_fds, resources) -> tuple[bytes, list[int]]:
    """One message and its descriptors, which `resources` closes."""
    message, fds, _, _ = socket.recv_fds(peer, nbytes, max_fds, socket.MSG_CMSG_CLOEXEC)
    for fd in fds:
        resources.callback(os.close, fd)
    return message, fds


def _own_pidfd(resources: ExitStack) -> int:
    """A descriptor of this process, by which others see it end; -1 if refused."""
    try:
        fd = os.pidfd_open(os.getpid())
    except OSError:
        # Old kernels and some sandboxes: a death is then noticed at the deadline.
        return -1
    resources.callback(os.close, fd)
    return fd


def _user_of(peer: socket.socket) -> int:
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1]
