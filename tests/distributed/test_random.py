"""Random numbers that processes share, or that each has for itself."""

import random

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils import (
    RNGType,
    set_seed,
    synchronize_rng_state,
    synchronize_rng_states,
)
from pyaccel.utils.operations import DistributedOperationException
from tests.harness import every_size, here

SOURCES = ["torch", "numpy", "python", "generator"]


def draw(generator):
    """A few numbers from every source."""
    return [
        torch.rand(3).tolist(),
        np.random.rand(3).tolist(),
        [random.random() for _ in range(3)],
        torch.rand(3, generator=generator).tolist(),
    ]


def own_numbers():
    """Seeds every source with a number of this rank, and gives the generator."""
    seed = 100 + here.rank
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def synchronize_all():
    PartialState(cpu=True)
    generator = own_numbers()
    synchronize_rng_states(SOURCES, generator=generator)
    return draw(generator)


@every_size
def test_all_sources_stand_where_the_main_process_does(backend, size):
    results = backend.run(synchronize_all, size=size)
    random.seed(100)
    expected = [
        torch.rand(3, generator=torch.Generator().manual_seed(100)).tolist(),
        np.random.RandomState(100).rand(3).tolist(),
        [random.random() for _ in range(3)],
        torch.rand(3, generator=torch.Generator().manual_seed(100)).tolist(),
    ]
    assert results == [expected] * size


def synchronize_one(source):
    PartialState(cpu=True)
    generator = own_numbers()
    synchronize_rng_state(source, generator)
    return draw(generator)


@pytest.mark.parametrize("source", [*SOURCES, RNGType.TORCH])
def test_only_the_source_that_is_named_changes(ranks, source):
    first, second = ranks.run(synchronize_one, source, size=2)
    alike = [ours == theirs for ours, theirs in zip(first, second, strict=True)]
    assert alike == [kind == str(source) for kind in SOURCES]


def wrong_on_one_rank(kinds, generator_on):
    PartialState(cpu=True)
    generator = torch.Generator() if here.rank in generator_on else None
    torch.manual_seed(here.rank)
    before = torch.get_rng_state()
    try:
        synchronize_rng_states(kinds[here.rank], generator=generator)
    except (AssertionError, DistributedOperationException, TypeError, ValueError) as e:
        unchanged = torch.equal(torch.get_rng_state(), before)
        # The group is as good as before.
        synchronize_rng_states(["torch"])
        return type(e).__name__, str(e), unchanged, torch.rand(1).item()
    return None


@pytest.mark.parametrize(
    ("kinds", "generator_on", "guilty", "kind", "text"),
    [
        pytest.param(
            [["torch", "generator"]] * 2,
            [0],
            1,
            "AssertionError",
            "Need a generator",
            id="no generator",
        ),
        pytest.param(
            [["torch"], ["dice"]], [], 1, "ValueError", "'dice' is not a", id="unknown"
        ),
        pytest.param(["torch", ["torch"]], [], 0, "TypeError", "not a list", id="text"),
        pytest.param(
            [["torch"], ["torch", "cuda"]],
            [],
            1,
            "AssertionError",
            "Can't synchronize CUDA seeds",
            id="no device",
            marks=pytest.mark.skipif(
                torch.cuda.is_available(), reason="asks for a missing GPU, and has one"
            ),
        ),
    ],
)
def test_a_mistake_of_one_rank_is_an_error_of_all(  # noqa: PLR0917 - the cases' columns
    ranks, kinds, generator_on, guilty, kind, text
):
    results = ranks.run(wrong_on_one_rank, kinds, generator_on, size=2)
    assert results[guilty][0] == kind
    assert text in results[guilty][1]
    other = results[1 - guilty]
    assert other[0] == "DistributedOperationException"
    assert f"rank {guilty} could not take part" in other[1]
    assert text in other[1]
    assert all(unchanged for _, _, unchanged, _ in results)
    assert results[0][3] == results[1][3]


def different_lists():
    PartialState(cpu=True)
    with pytest.raises(DistributedOperationException) as caught:
        synchronize_rng_states([["torch"], ["numpy"]][here.rank])
    return str(caught.value)


def test_different_lists_are_an_error_everywhere(ranks):
    for text in ranks.run(different_lists, size=2):
        assert "rank 1 could not take part: it names ['numpy']" in text
        assert "the main process ['torch']" in text


def seed_and_draw(device_specific):
    PartialState(cpu=True)
    set_seed(7, device_specific=device_specific)
    return draw(torch.default_generator)


@every_size
def test_seeds(ranks, size):
    alike = ranks.run(seed_and_draw, False, size=size)
    assert alike == [alike[0]] * size
    apart = ranks.run(seed_and_draw, True, size=size)
    assert apart[0] == alike[0]
    for source in range(len(SOURCES)):
        drawn = [tuple(numbers[source]) for numbers in apart]
        assert len(set(drawn)) == size


def seed_too_large():
    PartialState(cpu=True)
    try:
        set_seed(2**32 - 1, device_specific=True)
    except ValueError as error:
        return str(error)
    return None


def test_a_seed_must_leave_room_for_every_process(ranks):
    first, second = ranks.run(seed_too_large, size=2)
    assert first is None
    assert "the seed of this process is 4294967296" in second
