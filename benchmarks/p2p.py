"""How long does a message from one rank to another take?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from benchmarks.harness.case import Case, Goal, Trial, copies, one_way
from benchmarks.harness.session import Session

KIB = 1024
MIB = 1024 * KIB
LARGE = 64 * MIB


def channel(
    library: Any, rank: int, nbytes: int
) -> tuple[Callable[[torch.Tensor], None], Callable[[], torch.Tensor]]:
    """How a rank sends to the other one, and receives `nbytes` bytes from it.

    accelerate has no such operation: with it a script calls torch.distributed, over
    gloo, and receives into a tensor that it makes for that.
    """
    other = 1 - rank
    if library.name == "pyaccel":
        from pyaccel import _group

        comm = _group.comm
        assert comm is not None
        return lambda value: comm.send(value, other), lambda: comm.recv(other)

    def receive() -> torch.Tensor:
        got = torch.empty(nbytes, dtype=torch.uint8)
        distributed.recv(got, other)
        return got

    return lambda value: distributed.send(value, other), receive


def back_and_forth(nbytes: int) -> Callable[[Any, int, int], Trial]:
    """A message and its answer of the same size."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        del ranks
        send, receive = channel(library, rank, nbytes)
        value = torch.full((nbytes,), rank, dtype=torch.uint8)
        expected = torch.full((nbytes,), 1 - rank, dtype=torch.uint8)

        def call() -> Any:
            if rank == 0:
                send(value)
                return receive()
            got = receive()
            send(value)
            return got

        return Trial(call, lambda got: torch.equal(got, expected))

    return make


def there_and_done(library: Any, rank: int, ranks: int) -> Trial:
    """A large message, and the word that it has come."""
    del ranks
    size = LARGE if rank == 1 else 1
    send, receive = channel(library, rank, size)
    value = torch.full((LARGE,), 7, dtype=torch.uint8)
    word = torch.full((1,), 7, dtype=torch.uint8)

    def call() -> Any:
        if rank == 0:
            send(value)
            return receive()
        got = receive()
        send(word)
        return got

    return Trial(call, lambda got: len(got) == size and bool(torch.all(got == 7)))


CASES = (
    *(
        Case(
            f"{name} to the other rank and back",
            back_and_forth(nbytes),
            batch=10,
            floor=one_way(),
            goal=Goal(times=10),
        )
        for name, nbytes in {"8 B": 8, "4 KiB": 4 * KIB, "64 KiB": 64 * KIB}.items()
    ),
    Case(
        "64 MiB to the other rank",
        there_and_done,
        floor=copies(LARGE, ranks=1, times=2),
        goal=Goal(times=1.5),
    ),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
