"""What a benchmark file declares: its cases, their floors and their goals.

A case is data and two functions. `make` runs in every rank of a library's group and
gives the call to be timed together with the check of its result; it is the same code
for both libraries, since both carry the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LIBRARIES = ("accelerate", "pyaccel")


@dataclass(frozen=True)
class Trial:
    """One rank's part of a case: the call, and whether its result is right. `after` is
    done between calls and not timed; a case that has it does without batches."""

    call: Callable[[], Any]
    right: Callable[[Any], bool]
    after: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Native:
    """A floor measured by floor.c: `program` is its name there, `amount` its third
    argument; the floor is `times` such operations."""

    label: str
    program: str
    ranks: int
    amount: int
    times: int = 1


@dataclass(frozen=True)
class Plain:
    """A floor written in Python without any library, measured in its own process."""

    label: str
    make: Callable[[], Callable[[], Any]]


@dataclass(frozen=True)
class Fixed:
    """A floor that is known without measuring."""

    label: str
    value: float


@dataclass(frozen=True)
class Own:
    """A floor that the benchmark file measures by itself."""

    label: str


Floor = Native | Plain | Fixed | Own


@dataclass(frozen=True)
class Goal:
    """What a case must reach.

    `times`: at least so many times better than accelerate, by the median.
    `factor`, `plus`: at most factor x floor + plus, in the case's unit, by `statistic`.
    Without a factor, `plus` alone is the limit.
    """

    times: float | None = None
    factor: float | None = None
    plus: float | None = None
    statistic: str = "median"


@dataclass(frozen=True)
class Case:
    """One row of the question.

    `batch` calls make one sample where a single call is too short for the clock. A
    sample of a collective is that of its slowest rank; where the ranks do not meet,
    each has samples of its own. A file that does its own timing needs no `make`.
    """

    name: str
    make: Callable[[Any, int, int], Trial] | None = None
    ranks: int = 2
    batch: int = 1
    collective: bool = True
    floor: Floor | None = None
    goal: Goal = field(default_factory=Goal)


def one_way(ranks: int = 2) -> Native:
    """The time in which a cache line travels from one core to another."""
    return Native("one way of a cache line", "pingpong", ranks, amount=10)


def copies(nbytes: int, ranks: int, times: int) -> Native:
    """`times` copies of nbytes of warm memory, on all `ranks` at once."""
    label = "memcpy" if times == 1 else f"{times} memcpys on each of {ranks} ranks"
    return Native(label, "memcpy", ranks, amount=nbytes, times=times)
