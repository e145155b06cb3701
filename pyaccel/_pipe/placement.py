"""Which rank owns which unit: stages of units that follow each other."""

from __future__ import annotations

from collections.abc import Sequence


def cut_evenly(costs: Sequence[float], count: int) -> list[int]:
    """Where to cut a row of costs so that the costliest part costs as little as can be.

    Returns the index at which each part but the first begins; of cuts that are equal in
    this, the one whose parts' squares sum to least. Every part has an item, as long as
    there are so many.
    """
    count = max(1, min(count, len(costs)))
    sums = [0.0]
    for cost in costs:
        sums.append(sums[-1] + cost)
    length = len(costs)
    # best[i]: of the first i items in so many parts, the pair to make small.
    best: list[tuple[float, float]] = [
        (sums[i], sums[i] ** 2) for i in range(length + 1)
    ]
    cuts = [[0] * (length + 1)]
    for parts in range(2, count + 1):
        row = [(float("inf"), float("inf"))] * (length + 1)
        cut = [0] * (length + 1)
        for end in range(parts, length + 1):
            for begin in range(end - 1, parts - 2, -1):
                last = sums[end] - sums[begin]
                if last > row[end][0]:
                    break
                candidate = (max(best[begin][0], last), best[begin][1] + last**2)
                if candidate < row[end]:
                    row[end], cut[end] = candidate, begin
        best = row
        cuts.append(cut)
    found: list[int] = []
    end = length
    for cut in reversed(cuts[1:]):
        end = cut[end]
        found.append(end)
    return found[::-1]


def begins_of(names: list[str], points: Sequence[str], modules: set[str]) -> list[int]:
    """The indices of the units at which named split points begin a stage.

    A point may name a unit, something in it, or a module that holds several.
    """
    found: list[int] = []
    for point in points:
        if not isinstance(point, str) or point not in modules:
            raise ValueError(
                f"split point {point!r} names no module of the model: see "
                "model.named_modules() for the names there are"
            )
        inside = [n for n in names if n == point or n.startswith(f"{point}.")]
        around = [n for n in names if point.startswith(f"{n}.")]
        if not inside and not around:
            raise ValueError(
                f"split point {point!r} has no parameters and begins no stage: name a "
                "module that has some"
            )
        index = min(names.index(name) for name in inside or around)
        if index in found:
            raise ValueError(
                f"split point {point!r} is where another one begins a stage already: "
                "name each stage's first module once"
            )
        if index == 0:
            raise ValueError(
                f"split point {point!r} is the model's first part, which begins the "
                "first stage anyway: leave it out"
            )
        found.append(index)
    return sorted(found)


def stages_of(begins: Sequence[int], count: int) -> list[int]:
    """The stage of each of `count` units."""
    stages = []
    stage = 0
    for index in range(count):
        while stage < len(begins) and begins[stage] <= index:
            stage += 1
        stages.append(stage)
    return stages
