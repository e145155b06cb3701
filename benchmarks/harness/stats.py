"""Percentiles of samples, and whether a goal was reached."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness.case import Goal


@dataclass(frozen=True)
class Summary:
    """Samples of one library in one case, in the case's unit."""

    count: int
    p10: float
    median: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Summary:
        """The summary of at least one sample."""
        ordered = sorted(samples)
        return cls(len(ordered), *(percentile(ordered, q) for q in (0.1, 0.5, 0.99)))


def percentile(ordered: Sequence[float], q: float) -> float:
    """The smallest sample that at least a share `q` of the samples does not exceed.

    Always a sample that occurred, never a mean of two: a distribution with two peaks
    would otherwise show a time that no call took.
    """
    if not ordered:
        raise ValueError("a percentile of no samples does not exist")
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def slowest(samples_by_rank: Sequence[Sequence[float]]) -> list[float]:
    """A collective call lasts as long as on the rank where it lasts longest."""
    return [max(calls) for calls in zip(*samples_by_rank, strict=True)]


@dataclass(frozen=True)
class Verdict:
    """Whether a goal was reached: None where there is none, or where that with which
    it compares was not measured."""

    reached: bool | None
    words: str

    def __str__(self) -> str:
        return self.words


def judge(
    goal: Goal, ours: Summary, accelerate: Summary | None, floor: Summary | None
) -> Verdict:
    """The verdict on `ours`; its words say by how much a limit was missed."""
    misses = []
    limit = limit_of(goal, floor)
    unmeasured = (goal.times is not None and accelerate is None) or (
        goal.factor is not None and floor is None
    )
    if goal.times is not None and accelerate is not None:
        ratio = accelerate.median / ours.median
        if ratio < goal.times:
            misses.append(f"{ratio:.3g}x of {goal.times:.3g}x")
    if limit is not None:
        value = getattr(ours, goal.statistic)
        if value > limit:
            misses.append(f"{value / limit:.3g} times the limit")
    if misses:
        return Verdict(False, "missed: " + ", ".join(misses))
    if unmeasured:
        return Verdict(None, "not judged: something to compare with failed")
    if goal.times is None and limit is None:
        return Verdict(None, "")
    return Verdict(True, "reached")


def limit_of(goal: Goal, floor: Summary | None) -> float | None:
    """The largest value that the goal allows, by the floor of the same run."""
    if goal.factor is None:
        return goal.plus
    if floor is None:
        return None
    return goal.factor * getattr(floor, goal.statistic) + (goal.plus or 0.0)


def timer_overhead_ns() -> float:
    """What two readings of the clock cost, which every sample contains once."""
    clock = time.perf_counter_ns
    samples = []
    for _ in range(2000):
        start = clock()
        samples.append(clock() - start)
    return float(percentile(sorted(samples), 0.5))
