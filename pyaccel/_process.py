"""What a process of several can ask and do, the same on every class that offers it."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from . import _C, _group
from .utils.dataclasses import DistributedType

if TYPE_CHECKING:
    import torch


def do_nothing(*args, **kwargs):
    """Stands for a function where it is not to run."""


class ProcessMembers(_C.Splitter):
    """Process control for a class that knows its numbers among the processes."""

    if TYPE_CHECKING:
        # Each class has these in its own way.
        @property
        def num_processes(self) -> int: ...
        @property
        def process_index(self) -> int: ...
        @property
        def local_process_index(self) -> int: ...
        @property
        def distributed_type(self) -> DistributedType: ...
        @property
        def device(self) -> torch.device: ...

    @property
    def use_distributed(self) -> bool:
        """Whether there are several processes that work together."""
        return self.distributed_type != DistributedType.NO and self.num_processes > 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the first of all."""
        return self.process_index == 0

    @property
    def is_local_main_process(self) -> bool:
        """Whether this process is the first on its host."""
        return self.local_process_index == 0

    @property
    def is_last_process(self) -> bool:
        """Whether this process is the last of all."""
        return self.process_index == self.num_processes - 1

    def wait_for_everyone(self) -> None:
        """Waits until every process has come here; nothing to wait for alone."""
        # Read at each call and nothing else: this line is what the call costs.
        comm = _group.comm
        if comm is not None:
            comm.barrier()

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """A block that the main process runs first and the others after it.

        An error of the main process in its block is raised in all of them.
        """
        yield from _goes_first("main_process_first", self.is_main_process)

    @contextmanager
    def local_main_process_first(self) -> Iterator[None]:
        """A block that the first process of a host runs first and the others after it.

        An error of such a process in its block is raised in all of them.
        """
        yield from _goes_first("local_main_process_first", self.is_local_main_process)

    def print(self, *args, **kwargs) -> None:
        """Prints as the built-in does, once a host."""
        if self.is_local_main_process:
            builtins.print(*args, **kwargs)


def _goes_first(operation: str, is_first: bool) -> Iterator[None]:
    """Runs a block now, or after those who go first; then says how it went."""
    comm = _group.comm
    if comm is None:
        yield
        return
    if not is_first:
        _raise_first(operation, _group.exchange(comm, None, operation))
        yield
        return
    try:
        yield
    except BaseException as error:
        # The block's own error matters more than one in telling the others of it.
        with suppress(_C.DistributedOperationException):
            _group.exchange(comm, f"{type(error).__name__}: {error}", operation)
        raise
    _raise_first(operation, _group.exchange(comm, None, operation))


def _raise_first(operation: str, errors: list[str | None]) -> None:
    for rank, error in enumerate(errors):
        if error is not None:
            raise _C.DistributedOperationException(
                f"{operation}: the block of rank {rank} failed with {error}"
            )
