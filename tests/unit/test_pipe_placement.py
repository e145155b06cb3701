"""Stages: the costliest as cheap as can be, or as somebody named them."""

import itertools
import random

import pytest

from pyaccel._pipe.placement import begins_of, cut_evenly, stages_of


def parts_of(costs, begins):
    edges = [0, *begins, len(costs)]
    return [costs[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("seed", range(40))
def test_no_cut_is_better(seed):
    chosen = random.Random(seed)
    costs = [chosen.randint(0, 9) for _ in range(chosen.randint(1, 9))]
    count = chosen.randint(1, 5)
    begins = cut_evenly(costs, count)
    parts = parts_of(costs, begins)
    assert len(parts) == min(count, len(costs))
    assert all(parts)
    every = itertools.combinations(range(1, len(costs)), len(begins))
    best = min(max(map(sum, parts_of(costs, cut))) for cut in every)
    assert max(map(sum, parts)) == best


def test_equal_parts_where_they_are_possible():
    assert cut_evenly([1.0] * 12, 4) == [3, 6, 9]


def test_stages_of_units():
    assert stages_of([2, 3], 5) == [0, 0, 1, 2, 2]


NAMES = ["embed", "layers.0", "layers.1", "layers.2", "head"]
MODULES = {*NAMES, "", "layers", "layers.1.attention", "act"}


@pytest.mark.parametrize(
    ("points", "begins"),
    [
        (["layers.1"], [2]),
        (["head", "layers"], [1, 4]),
        (["layers.1.attention"], [2]),
    ],
)
def test_points_begin_stages(points, begins):
    assert begins_of(NAMES, points, MODULES) == begins


@pytest.mark.parametrize(
    ("points", "word"),
    [
        (["layers.7"], "no module"),
        ([3], "no module"),
        (["layers.1", "layers.1.attention"], "already"),
        (["embed"], "first part"),
        (["act"], "no parameters"),
    ],
)
def test_points_that_begin_no_stage(points, word):
    with pytest.raises(ValueError, match=word):
        begins_of(NAMES, points, MODULES)
