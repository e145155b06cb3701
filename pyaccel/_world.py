"""Which process this is among how many: read from torch or from the environment."""

import os
import sys
from dataclasses import dataclass

from . import _control

# Rank and size as MPI's launchers say them, beside which others may have been left.
_MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


@dataclass(frozen=True)
class World:
    """This process' place in its job.

    `control_fd` is the launcher's segment or -1. `torchrun` is whether torchrun started
    the process, whose scripts expect torch's group also where there is one alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    control_fd: int = -1
    torchrun: bool = False


def find_world(rank: int | None = None, size: int | None = None) -> World:
    """This process' place, from the first source that knows it.

    A group that the script initialised in torch.distributed always wins, then `rank`
    and `size` where the caller names them, then our launcher, then the plain variables
    that torchrun and others set. Waits for nobody. Raises a ValueError that names the
    variable and the remedy where the variables are incomplete or contradict each other.
    """
    group = _torch_group()
    if group is not None:
        return _placed(*group)
    if rank is not None or size is not None:
        return _placed(*_named_by_caller(rank, size))
    control_fd = _control.descriptor()
    if control_fd is None:
        return World()
    rank, size = _index("RANK"), _index("WORLD_SIZE")
    if size is None:
        if rank is None:
            return World()
        raise ValueError(
            f"RANK is {rank} but WORLD_SIZE is not set: set WORLD_SIZE to the number "
            "of processes, or unset RANK to run alone"
        )
    if rank is None and size > 1:
        raise ValueError(
            f"WORLD_SIZE is {size} but RANK is not set: set RANK to this process' "
            f"number, 0 to {size - 1}, or unset WORLD_SIZE to run alone"
        )
    if control_fd < 0 and not _by_torchrun():
        # pyaccel launch and torchrun number their processes whoever started them.
        _check_mpi(rank or 0, size)
    return _completed(rank or 0, size, control_fd)


def _torch_group() -> tuple[int, int] | None:
    """Rank and size of torch.distributed's group, if the script initialised one."""
    # A script that has not imported torch cannot have initialised a group.
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available():
        return None
    if not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def _named_by_caller(rank: int | None, size: int | None) -> tuple[int, int]:
    if rank is None or size is None:
        raise ValueError(
            f"rank={rank} and world_size={size} were given: give both, or neither to "
            "take them from the environment"
        )
    _check_within("rank", rank, "world_size", size)
    return rank, size


def _check_mpi(rank: int, size: int) -> None:
    """Refuses numbers that were left in the environment of an MPI process."""
    for rank_name, size_name in _MPI:
        mpi_rank, mpi_size = _index(rank_name), _index(size_name)
        if mpi_rank is not None and mpi_size == size and mpi_rank != rank:
            raise ValueError(
                f"RANK is {rank} but {rank_name} is {mpi_rank}, both of {size} "
                f"processes: set RANK to {mpi_rank} in this process, or unset "
                f"{rank_name} and {size_name}"
            )


def _placed(rank: int, size: int) -> World:
    """The world of a script that says itself which rank this is.

    The local variables are believed only where they are of the same group: a process
    that a worker started inherits the worker's.
    """
    try:
        same = _index("RANK") in (None, rank) and _index("WORLD_SIZE") in (None, size)
        if same:
            return _completed(rank, size)
    except ValueError:
        pass  # What the variables say does not matter.
    return World(rank, size, rank, size)


def _completed(rank: int, size: int, control_fd: int = -1) -> World:
    """The world with its local numbers, every number checked against the others."""
    _check_within("RANK", rank, "WORLD_SIZE", size)
    local_size = _index("LOCAL_WORLD_SIZE")
    if local_size is None:
        local_size = size
    elif not 1 <= local_size <= size:
        raise ValueError(
            f"LOCAL_WORLD_SIZE is {local_size} but WORLD_SIZE is {size}: set "
            "LOCAL_WORLD_SIZE to the number of processes on this host, or unset it"
        )
    local_rank = _index("LOCAL_RANK")
    if local_rank is None:
        # Launchers number the processes of a host one after the other.
        local_rank = rank % local_size
    _check_within("LOCAL_RANK", local_rank, "LOCAL_WORLD_SIZE", local_size)
    return World(rank, size, local_rank, local_size, control_fd, _by_torchrun())


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _check_within(name: str, value: int, limit_name: str, limit: int) -> None:
    if limit < 1:
        raise ValueError(f"{limit_name} is {limit}: set it to 1 or more, or unset it")
    if not 0 <= value < limit:
        raise ValueError(
            f"{name} is {value} but {limit_name} is {limit}: set {name} to a number "
            f"from 0 to {limit - 1}, or {limit_name} to the number of processes"
        )


def _index(name: str) -> int | None:
    """The number in a variable; None where it is not set, empty or -1."""
    text = os.environ.get(name, "").strip()
    try:
        value = int(text or -1)
    except ValueError:
        raise ValueError(
            f"{name} is {text!r}, not a whole number: correct it, or unset it"
        ) from None
    if value < -1:
        raise ValueError(f"{name} is {value}: set it to 0 or more, or unset it")
    return None if value == -1 else value
