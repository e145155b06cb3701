"""The key-value store by which processes that share no launcher find each other."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore

from . import _C
from ._control import SECRET
from ._world import World

DEFAULT_PORT = 29500
_ANSWER = 5.0  # seconds for whoever listens at the port to show that it is a store

# What a store raises that has ended or does not answer in time: torch's, and ours.
FAILED = (RuntimeError, _C.DistributedOperationException)


class Keys:
    """A part of a store on TCP through our client: as much of torch's Store as we use.

    Its waits end with Ctrl-C, and at once when the store ends; and it shows the secret
    of our launcher, whose store keeps what begins with pyaccel/ for those who have.
    """

    def __init__(self, client: _C.StoreClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def part(self, name: str) -> Keys:
        """The keys below a name."""
        return Keys(self._client, f"{self._prefix}{name}/")

    def set(self, key: str, value: str | bytes) -> None:
        """Gives a key a value."""
        self._client.set(self._prefix + key, _encoded(value))

    def get(self, key: str) -> bytes:
        """The value of a key; waits until it has one."""
        return self._client.get(self._prefix + key)

    def compare_set(
        self, key: str, expected: str | bytes, desired: str | bytes
    ) -> bytes:
        """Gives a key a value if it has the expected one; its value then."""
        return self._client.compare_set(
            self._prefix + key, _encoded(expected), _encoded(desired)
        )

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys have a value."""
        return self._client.check([self._prefix + key for key in keys])

    def wait(self, keys: Sequence[str], timeout: timedelta) -> None:
        """Waits until all keys have a value."""
        seconds = timeout.total_seconds()
        self._client.wait([self._prefix + key for key in keys], seconds)


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def address() -> tuple[str, int]:
    """Where the store is, from MASTER_ADDR and MASTER_PORT; a ValueError if unclear."""
    host = os.environ.get("MASTER_ADDR")
    if not host:
        raise ValueError(
            "MASTER_ADDR is not set: set it to the address of rank 0's host, "
            "127.0.0.1 if all processes are on this one"
        )
    text = os.environ.get("MASTER_PORT") or str(DEFAULT_PORT)
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 < port < 2**16:
        raise ValueError(
            f"MASTER_PORT is {text!r}: set it to a free port, a number from 1 to 65535"
        )
    return host, port


def open_store(world: World, deadline: float) -> Store:
    """The store that MASTER_ADDR and MASTER_PORT name, served by rank 0.

    Waits until rank 0 serves it. Where a launcher or torch serves one already, rank 0
    is its client like all others.
    """
    host, port = address()
    # Our launcher serves there from before it started us: nothing to find out.
    launched = world.control_fd >= 0 and _secret(host, port) != b""
    # torchrun's agent listens before it starts anyone: where nobody does, a script has
    # chosen another port than the one that it was given.
    serves = world.rank == 0 and not launched and not _listens(host, port)
    if world.rank > 0 and not launched:
        # torch's store would look for it once a second, and wait twice its timeout.
        _client(world, b"", deadline).close()
    try:
        if world.rank == 0 and not serves and not launched:
            _check_answers(host, port, deadline)
        return TCPStore(
            host,
            port,
            world_size=world.size,
            is_master=serves,
            timeout=timedelta(seconds=left(deadline)),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (RuntimeError, OSError) as error:  # torch's store raises the first
        if world.rank == 0:
            raise ConnectionError(
                f"set-up of {world.size} processes: rank 0 cannot serve at {host} port "
                f"{port}; set MASTER_PORT to a port that is free"
            ) from error
        raise _C.DistributedTimeoutError(
            f"set-up of {world.size} processes: rank {world.rank} found no rank 0 at "
            f"{host} port {port} in time; check that rank 0 was started and that "
            "MASTER_ADDR and MASTER_PORT are the same everywhere"
        ) from error


def open_keys(world: World, attempt: int, deadline: float) -> Keys:
    """The part of that store that is ours alone, for the given attempt.

    It is served already. A ConnectionError that says what to do if it is no store, or
    not the one of our launcher.
    """
    client = _client(world, _secret(*address()), deadline)
    return Keys(client, f"{_own_prefix(attempt)}/")


def _client(world: World, secret: bytes, deadline: float) -> _C.StoreClient:
    """A client of the store that the variables name, once it is served."""
    host, port = address()
    who = f"set-up of {world.size} processes: rank {world.rank}"
    try:
        return _C.StoreClient(host, port, left(deadline), secret)
    except (_C.DistributedTimeoutError, ValueError) as error:  # or an unknown host
        raise _C.DistributedTimeoutError(
            f"{who} found no rank 0 at {host} port {port} in time; check that rank 0 "
            "was started and that MASTER_ADDR and MASTER_PORT are the same everywhere"
        ) from error
    except _C.DistributedOperationException as error:
        remedy = (
            f"start it with the launcher that serves there, or unset {SECRET}"
            if secret
            else "set MASTER_ADDR and MASTER_PORT to where rank 0 serves"
        )
        raise ConnectionError(
            f"{who} cannot use the store: {error}; {remedy}"
        ) from error


def _secret(host: str, port: int) -> bytes:
    """What opens our keys in the store there; empty if it is not our launcher's.

    A process that a worker started inherits the variable, and may be told of another
    store, such as torchrun's.
    """
    served, _, secret = os.environ.get(SECRET, "").partition(":")
    if served != str(port) or host != "127.0.0.1":
        return b""
    try:
        return bytes.fromhex(secret)
    except ValueError:
        # Without the text, which may be most of a secret.
        raise ValueError(
            f"{SECRET} is not <port>:<secret>: pyaccel launch alone sets it; unset it"
        ) from None


def _listens(host: str, port: int) -> bool:
    """Whether anybody accepts connections there."""
    try:
        socket.create_connection((_name(host), port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _name(host: str) -> Any:
    """The host for a socket; for text it imports a codec, which takes 9 ms."""
    return host.encode() if host.isascii() else host


def _check_answers(host: str, port: int, deadline: float) -> None:
    """An OSError unless who listens there is a store; torch's client would wait."""
    client = _C.StoreClient(host, port, min(_ANSWER, left(deadline)))
    try:
        client.check(["/pyaccel"])
    finally:
        client.close()


def default_store() -> Store:
    """The store of torch.distributed's initialised group."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def own_part(store: Store, attempt: int) -> Store:
    """The part of a store of torch that is ours, for the given attempt.

    For torch.distributed, and where a script made a group of its own: only torch knows
    what stands before that group's keys, and of which kind its store is.
    """
    return PrefixStore(f"/{_own_prefix(attempt)}", store)


def part(store: Keys | Store, name: str) -> Keys | Store:
    """The keys of a store below a name."""
    return store.part(name) if isinstance(store, Keys) else PrefixStore(name, store)


def _own_prefix(attempt: int) -> str:
    """What stands before our keys, in the given attempt of this process."""
    run = os.environ.get("TORCHELASTIC_RUN_ID", "")
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return f"pyaccel/{run}/{restart}/{attempt}"


def ended(world: World) -> _C.DistributedPeerError:
    """The error of a set-up whose store has ended."""
    return _C.DistributedPeerError(
        f"set-up of {world.size} processes: the process that serves the store, rank 0 "
        "or the launcher, ended; its own output says why"
    )


def claim(part: Keys | Store, world: World) -> None:
    """Takes the rank's number in a part of a store.

    Raises a ValueError if another process has it and runs: a rank's child that was
    given its variables must not disturb the rank.
    """
    key = f"claim/{world.rank}"
    here = f"{boot_id()} {os.readlink('/proc/self/ns/pid')}"
    own = f"{here} {os.getpid()}"
    holder = part.compare_set(key, "", own).decode()
    if holder == own:
        return
    where, _, pid = holder.rpartition(" ")
    if where == here and runs(int(pid)):
        raise ValueError(
            f"set-up of {world.size} processes: rank {world.rank} is process {pid}, "
            f"and process {os.getpid()} has the same RANK: a process that a rank "
            "starts inherits its variables, so unset RANK and WORLD_SIZE to run "
            "alone, or give every process a RANK of its own"
        )
    # The holder ended, or is on another host: this one was started in its stead.
    part.set(key, own)


def runs(pid: int) -> bool:
    """Whether a process of this host is there and has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def boot_id() -> str:
    """What tells this machine, since it was started, from all others."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def exchange(
    store: Keys | Store, world: World, name: str, value: str, deadline: float
) -> list[str]:
    """Every rank's text under `name`, in rank order; names ranks that never came."""
    keys = [f"{name}/{rank}" for rank in range(world.size)]
    seconds = left(deadline)
    try:
        store.set(keys[world.rank], value)
        store.wait(keys, timedelta(seconds=seconds))
        return [store.get(key).decode() for key in keys]
    except FAILED as error:
        if not has(store, keys[world.rank]):
            raise ended(world) from error
        missing = [str(rank) for rank, key in enumerate(keys) if not has(store, key)]
        raise _C.DistributedTimeoutError(
            f"set-up of {world.size} processes: rank {', '.join(missing)} did not come "
            f"within {seconds:.1f} s; check that every process was started and that "
            "WORLD_SIZE is right"
        ) from error


def has(store: Keys | Store, key: str) -> bool:
    """Whether a key is there; False also where the store can no longer be asked."""
    try:
        return store.check([key])
    except FAILED:
        return False


def left(deadline: float) -> float:
    """The seconds until a moment of time.monotonic(), at least a millisecond."""
    return max(deadline - time.monotonic(), 0.001)
