"""The group of this process: joined once, used by every operation, left at exit."""

from __future__ import annotations

import atexit
import os
import re
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from . import _C, _control
from ._world import World

SETUP_TIMEOUT = 300.0  # seconds for every process to come
FORCED = "PYACCEL_COMM"  # the variable that forces a communicator: shm or torch
# Rows of ways between GPUs, such as staged<=4096,nccl; and NCCL's own variable, which
# lets several processes share a GPU.
WAYS = "PYACCEL_GPU_WAYS"
SHARED_NCCL = "NCCL_MULTI_RANK_GPU_ENABLE"
# NCCL's own variable that makes its calls wait, whatever a program asks of it.
BLOCKING_NCCL = "NCCL_COMM_BLOCKING"
TIMEOUT = 1800.0  # seconds for an operation on the host, as torch.distributed's
# What the core says of the barriers with which a set-up ends.
_A_BARRIER = re.compile(r"wait_for_everyone \(operation \d+\)")

# The communicator with the other processes; None alone and before the set-up. It stays
# here when it was closed, so that its use after that is an error and not a silent no.
comm: _C.Comm | None = None


@dataclass
class _History:
    """What this process did before, and what it came from."""

    attempts: int = 0  # set-ups through a store: each has keys of its own
    taken: bool = False  # the launcher's segment can be attached to once
    # The stores that this process serves, by address: kept, as a slower rank may look
    # for the next group in one while this process has left the last.
    served: dict[tuple[str, int], Any] = field(default_factory=dict)
    forked_from: int | None = None  # the rank that this process is a forked child of


_history = _History()


def join(
    world: World, backend: str | None, options: dict[str, Any], device=None
) -> None:
    """Makes `comm` the communicator of `world`, and torch.distributed's group as well.

    `device` is the torch.device that this process works on; if it is a GPU, tensors of
    other GPUs take a slower way. `options` are those of
    torch.distributed.init_process_group. Collective: waits until every rank calls it,
    as long as options["timeout"] says, else five minutes. On an error nothing is left
    set up. Alone there is no communicator and nobody to wait for, and torch's group
    only where `backend` names one.
    """
    global comm  # noqa: PLW0603 - a module's name is the fastest place to read
    if _history.forked_from is not None:
        raise RuntimeError(
            f"this process was forked from rank {_history.forked_from} of a group and "
            "is not a rank itself: start it with the spawn method, or leave operations "
            "to the rank"
        )
    timeout = options.get("timeout")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(
            f"timeout is {timeout!r}, not a datetime.timedelta: write "
            "timeout=timedelta(seconds=...)"
        )
    seconds = None if timeout is None else timeout.total_seconds()
    if seconds is not None and seconds <= 0:
        raise ValueError(
            f"timeout is {timeout!r}, in which nobody can come: write "
            "timeout=timedelta(seconds=...) with a number above zero"
        )
    if comm is not None and not comm.closed:
        if (comm.rank, comm.size) == (world.rank, world.size):
            comm.timeout = comm.timeout if seconds is None else seconds
            _name_device(comm, device)
            return
        comm.close()
    comm = None
    deadline = time.monotonic() + (SETUP_TIMEOUT if seconds is None else seconds)
    if world.size == 1:
        if backend is not None:
            _join_alone(world, backend, options, deadline)
        return
    with ExitStack() as undo:
        joined = _connect(world, backend, options, deadline, undo)
        _name_device(joined, device)
        if rows := os.environ.get(WAYS):
            joined.ask_ways(rows)
        # Only now is torch's store not needed by a slower rank any more.
        _await_everyone(joined)
        joined.timeout = TIMEOUT if seconds is None else seconds
        undo.pop_all()
    comm = joined
    _control.set_for_children()


def exchange(joined: _C.Comm, own: Any, operation: str) -> list[Any]:
    """What every rank says of itself, in rank order, within an operation of ours."""
    # A script's gather_object on another rank, called out of step, is not taken for
    # this one: its purpose is another.
    return joined.gather_object(own, purpose=operation)


def leave() -> None:
    """Leaves the group; operations after that say so. May be called twice."""
    if comm is not None and _history.forked_from is None:
        comm.close()


def _leave_at_end() -> None:
    """As `leave`, and whoever waits for this process hears that it ended."""
    if comm is not None and _history.forked_from is None:
        comm.close(ending=True)


def _name_device(joined: _C.Comm, device) -> None:
    """Tells the communicator of a GPU, which is not touched yet."""
    if device is not None and device.type == "cuda":
        _check_blocking()
        shared = os.environ.get(SHARED_NCCL, "0") not in ("", "0")
        joined.set_device(device.index or 0, shared_nccl=shared)


def _check_blocking() -> None:
    """Refuses the variable with which NCCL would wait for ever for a peer that ended.

    Our setting of the communicator counts for less than the variable. It stays as it
    is, because torch's communicators obey it as well.
    """
    rows = os.environ.get(WAYS)
    if os.environ.get(BLOCKING_NCCL) == "1" and (not rows or "nccl" in rows):
        raise ValueError(
            f"{BLOCKING_NCCL} is 1, which keeps pyaccel from ending what waits in NCCL "
            f"for another process: unset it, or set {WAYS} to ipc or staged"
        )


def _await_everyone(joined: _C.Comm) -> None:
    """A barrier whose errors say that it is the set-up that waited."""
    try:
        joined.barrier()
    except _C.DistributedOperationException as error:
        what = _A_BARRIER.sub("the set-up", str(error).partition(": ")[2])
        raise type(error)(
            f"set-up of {joined.size} processes: {what}; check that every process "
            "makes its PartialState"
        ) from error


def _connect(
    world: World,
    backend: str | None,
    options: dict[str, Any],
    deadline: float,
    undo: ExitStack,
) -> _C.Comm:
    """A communicator of all ranks and torch's group, both undone by `undo`."""
    from torch import distributed

    from . import _store

    _history.attempts += 1
    store = None

    def init_torch() -> None:
        if not distributed.is_initialized():
            found = store or _open_store(world, deadline, undo)
            _init_torch_in(found, world, backend, options, undo)

    if _names_own_store(options) and not distributed.is_initialized():
        _init_torch(world, backend, options, undo)
    shares = _may_share()
    if shares and world.control_fd >= 0 and not _history.taken:
        _history.taken = True
        joined = _attach_inherited(world, _store.left(deadline))
        undo.callback(joined.close)
        _await_everyone(joined)
        init_torch()
        return joined

    from . import _rendezvous

    part: _store.Keys | distributed.Store
    if distributed.is_initialized():
        part = _store.own_part(_store.default_store(), _history.attempts)
    else:
        store = _open_store(world, deadline, undo)
        part = _store.open_keys(world, _history.attempts, deadline)
    _store.claim(part, world)
    try:
        if not shares:
            raise _rendezvous.CannotShare(f"{FORCED} is torch")
        joined = _rendezvous.meet(part, world, deadline, _store.left(deadline))
        undo.callback(joined.close)
        init_torch()
    except _rendezvous.CannotShare as reason:
        init_torch()
        joined = _relay(part, world, reason, _store.left(deadline))
        undo.callback(joined.close)
    return joined


def _join_alone(
    world: World, backend: str, options: dict[str, Any], deadline: float
) -> None:
    """Makes torch's group of this process alone, unless the script made one."""
    from torch import distributed

    if distributed.is_initialized():
        return
    _history.attempts += 1
    with ExitStack() as undo:
        if _names_own_store(options):
            _init_torch(world, backend, options, undo)
        else:
            store = _open_store(world, deadline, undo)
            _init_torch_in(store, world, backend, options, undo)
        undo.pop_all()
    _control.set_for_children()


def _names_own_store(options: dict[str, Any]) -> bool:
    return "init_method" in options or "store" in options


def _open_store(world: World, deadline: float, undo: ExitStack):
    """The store that the variables name, kept if this process may serve it."""
    from . import _store

    store = _store.open_store(world, deadline)
    address = _store.address()
    if world.rank == 0 and address not in _history.served:
        _history.served[address] = store
        undo.callback(_history.served.pop, address)
    return store


def _may_share() -> bool:
    """Whether shared memory may be tried; a variable forces either way, for tests."""
    forced = os.environ.get(FORCED, "")
    if forced not in ("", "shm", "torch"):
        raise ValueError(f"{FORCED} is {forced!r}: set it to shm or torch, or unset it")
    return forced != "torch"


def _relay(part, world: World, reason: Exception, timeout: float) -> _C.Comm:
    """The communicator over torch.distributed, for ranks that cannot share memory."""
    from . import _store
    from ._torch_transport import TorchTransport

    if os.environ.get(FORCED) == "shm":
        raise ConnectionError(f"{FORCED} is shm, but the ranks cannot share: {reason}")
    if world.rank == 0 and not os.environ.get(FORCED):
        print(
            f"pyaccel: no shared memory between all ranks ({reason}); tensors and "
            "objects go over torch.distributed",
            file=sys.stderr,
        )
    transport = TorchTransport(_store.part(part, "relay"))
    return _C.comm_relay(transport, world.rank, world.size, timeout)


def _attach_inherited(world: World, timeout: float) -> _C.Comm:
    """The communicator over the launcher's segment, whose descriptor is closed then."""
    attached = _C.comm_attach(world.control_fd, world.rank, world.size, timeout)
    os.close(world.control_fd)
    return attached


def _init_torch_in(
    store, world: World, backend: str | None, options: dict[str, Any], undo: ExitStack
) -> None:
    """Makes torch's group in our part of a store."""
    from torch import distributed

    from . import _store

    # A store may outlive a group, and what torch wrote into it for that one leads to
    # processes that are gone.
    part = _store.own_part(store, _history.attempts)
    own = {"store": distributed.PrefixStore("default_pg", part)}
    _init_torch(world, backend, options | own, undo)
    store.set_timeout(options.get("timeout") or timedelta(seconds=TIMEOUT))


def _init_torch(
    world: World, backend: str | None, options: dict[str, Any], undo: ExitStack
) -> None:
    from torch import distributed

    distributed.init_process_group(
        backend, rank=world.rank, world_size=world.size, **options
    )
    undo.callback(distributed.destroy_process_group)


def _after_fork_in_child() -> None:
    if comm is not None and not comm.closed:
        _history.forked_from = comm.rank


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_leave_at_end)
