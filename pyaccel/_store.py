"""The key-value store by which processes that share no launcher find each other."""

import os
import socket
import time
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore

from . import _C
from ._world import World

DEFAULT_PORT = 29500
_GLANCE = 0.02  # seconds between two looks at whether rank 0 serves


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

    Waits until rank 0 serves it. Under a launcher that serves it all are clients.
    """
    host, port = address()
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    serves = world.rank == 0 and not agent
    try:
        if not serves:
            _wait_for_server(host, port, deadline)
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
        if serves:
            raise ConnectionError(
                f"set-up of {world.size} processes: rank 0 cannot serve at {host} port "
                f"{port}; set MASTER_PORT to a port that is free"
            ) from error
        raise _C.DistributedTimeoutError(
            f"set-up of {world.size} processes: rank {world.rank} found no rank 0 at "
            f"{host} port {port} in time; check that rank 0 was started and that "
            "MASTER_ADDR and MASTER_PORT are the same everywhere"
        ) from error


def _wait_for_server(host: str, port: int, deadline: float) -> None:
    """Returns once somebody listens there.

    torch's store would look only once a second, and wait twice as long as it was told.
    """
    # A name as text would be encoded by a codec whose import takes 9 ms.
    name: Any = host.encode() if host.isascii() else host
    while True:
        try:
            socket.create_connection((name, port), timeout=left(deadline)).close()
            return
        except OSError:
            if left(deadline) <= _GLANCE:
                raise
            time.sleep(_GLANCE)


def default_store() -> Store:
    """The store of torch.distributed's initialised group."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def own_part(store: Store, attempt: int) -> Store:
    """The part of `store` that is ours alone, for the given attempt of this process."""
    run = os.environ.get("TORCHELASTIC_RUN_ID", "")
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"/pyaccel/{run}/{restart}/{attempt}", store)


def exchange(
    store: Store, world: World, name: str, value: str, deadline: float
) -> list[str]:
    """Every rank's text under `name`, in rank order; names ranks that never came."""
    keys = [f"{name}/{rank}" for rank in range(world.size)]
    store.set(keys[world.rank], value)
    seconds = left(deadline)
    try:
        store.wait(keys, timedelta(seconds=seconds))
    except RuntimeError as error:
        if not has(store, keys[world.rank]):
            raise _C.DistributedPeerError(
                f"set-up of {world.size} processes: the process that serves the store, "
                "rank 0 or the launcher, ended; its own output says why"
            ) from error
        missing = [str(rank) for rank, key in enumerate(keys) if not has(store, key)]
        raise _C.DistributedTimeoutError(
            f"set-up of {world.size} processes: rank {', '.join(missing)} did not come "
            f"within {seconds:.1f} s; check that every process was started and that "
            "WORLD_SIZE is right"
        ) from error
    return [store.get(key).decode() for key in keys]


def has(store: Store, key: str) -> bool:
    """Whether a key is there; False also where the store can no longer be asked."""
    try:
        return store.check([key])
    except RuntimeError:
        return False


def left(deadline: float) -> float:
    """The seconds until a moment of time.monotonic(), at least a millisecond."""
    return max(deadline - time.monotonic(), 0.001)
