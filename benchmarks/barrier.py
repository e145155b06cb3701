"""How long does it take until every rank knows that all have arrived?"""

from __future__ import annotations

from typing import Any

from benchmarks.harness.case import Case, Goal, Native, Trial
from benchmarks.harness.session import Session


def make(library: Any, rank: int, ranks: int) -> Trial:
    del rank, ranks
    # A barrier gives nothing back; that it waits is shown by the distributed tests.
    return Trial(library.state.wait_for_everyone, lambda result: result is None)


CASES = (
    Case(
        "wait_for_everyone",
        make,
        batch=10,
        floor=Native("flag barrier in C", "barrier", ranks=2, amount=10),
        goal=Goal(times=150, factor=3, plus=150),
    ),
    Case("wait_for_everyone", make, ranks=4, batch=10, goal=Goal(times=100)),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES)
