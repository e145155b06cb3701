"""Ranks that end, stay away or go apart in the middle of a pipeline's call."""

import signal

import pytest
import torch
from torch import nn

from pyaccel._pipe.link import PipelineDivergenceError, PipelineError
from pyaccel.utils.operations import DistributedPeerError
from tests.distributed.pipeline.test_calls import Stack, prepared, rows
from tests.harness import here


def killed_in_a_call():
    model, _ = prepared(gather_output=True)
    model(rows(3))
    if here.rank == 1:
        unit = model.pippy_stage.units["blocks.2"]
        unit.forward = lambda x: here.die()
    with pytest.raises(DistributedPeerError, match="rank 1"):
        model(rows(3))


def test_a_rank_that_is_killed_is_named(shm):
    outcomes = shm.run(killed_in_a_call, size=3, check=False)
    assert outcomes[1].exit == -signal.SIGKILL
    for rank in (0, 2):
        assert outcomes[rank].exit is None, outcomes[rank]
        assert outcomes[rank].exception_type_name is None, outcomes[rank].message


class Apart(Stack):
    """Does something else on one rank."""

    def forward(self, x):
        x = self.blocks[0](x)
        if here.rank == 1:
            x = x + 1
        for block in self.blocks[1:]:
            x = block(x)
        return x


def apart():
    model, _ = prepared(Apart, gather_output=True)
    with pytest.raises(PipelineError, match="blocks") as caught:
        model(rows(2))
    return isinstance(caught.value, PipelineDivergenceError)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_that_go_apart_are_told_where(backend, size):
    assert any(backend.run(apart, size=size))


class Changing(Stack):
    """Has a block whose result's length follows from its values."""

    def __init__(self):
        super().__init__()
        self.blocks[2].forward = lambda x: x[x[:, 0] > 0]


def changing():
    model, whole = prepared(Changing, gather_output=True, num_chunks=1)
    lengths = set()
    for seed in range(6):
        torch.manual_seed(seed)
        x = torch.randn(9, 8)
        with torch.no_grad():
            expected = whole(x)
            assert torch.equal(model(x), expected)
        lengths.add(len(expected))
    assert len(lengths) > 1


@pytest.mark.parametrize("size", [2, 3])
def test_shapes_that_follow_from_values_are_told(shm, size):
    shm.run(changing, size=size)


class Reading(Stack):
    """Reads a block's parameter between blocks."""

    def forward(self, x):
        return super().forward(x) @ self.blocks[1][0].weight


def reading(example):
    options = {"example_args": (rows(2),)} if example else {}
    model, whole = prepared(Reading, num_chunks=1, gather_output=True, **options)
    for count in (2, 3):
        with torch.no_grad():
            assert torch.equal(model(rows(count)), whole(rows(count)))


@pytest.mark.parametrize("example", [False, True])
def test_parameters_that_are_read_between_units_are_shared(shm, example):
    shm.run(reading, example, size=3)


class Inner(Stack):
    """Asks between its blocks where a tensor is in memory."""

    def forward(self, x):
        x = self.blocks[0](x)
        assert x.data_ptr() != 0
        for block in self.blocks[1:]:
            x = block(x)
        return x


class Outer(nn.Module):
    """Has one part that cannot be followed, or is one itself."""

    def __init__(self):
        super().__init__()
        self.before = nn.Linear(8, 8)
        self.inner = Inner()
        self.after = nn.Linear(8, 8)

    def forward(self, x):
        return self.after(self.inner(self.before(x)))


def not_followed(kind):
    model, whole = prepared(kind, num_chunks=2, gather_output=True)
    for count in (2, 3, 3):
        with torch.no_grad():
            expected = torch.cat([whole(x) for x in rows(count).tensor_split(2)])
            assert torch.equal(model(rows(count)), expected)
    own = [each for each in model.parameters() if not hasattr(each, "holders")]
    return len(model.pippy_stage.units), len(own)


def test_a_part_that_cannot_be_followed_is_run_whole(shm):
    outcomes = shm.run(not_followed, Outer, size=3, check=False)
    assert [outcome.value[0] for outcome in outcomes] == [3] * 3
    assert sum(outcome.value[1] for outcome in outcomes) == 12
    assert outcomes[0].stderr.count("runs inner of the model as a whole") == 1
    assert outcomes[1].stderr == ""


def test_a_model_that_cannot_be_followed_is_run_whole(shm):
    results = shm.run(not_followed, Inner, size=3)
    assert [units for units, _ in results] == [1] * 3
    assert [parameters for _, parameters in results] == [0, 0, 8]


def random_calls(seed):
    """Calls of changing shapes; each rank's own random numbers stay its own."""
    model, whole = prepared(gather_output=True)
    chosen = torch.Generator().manual_seed(seed)
    for _ in range(25):
        batch, chunks = torch.randint(1, 8, (2,), generator=chosen).tolist()
        model.pippy_stage.num_chunks = chunks
        torch.manual_seed(here.rank)
        drawn = torch.rand(1)
        with torch.no_grad():
            parts = [whole(part) for part in rows_of(batch).tensor_split(chunks)]
            torch.manual_seed(here.rank)
            assert torch.equal(model(rows_of(batch)), torch.cat(parts))
        assert here.rank == 0 or torch.equal(torch.rand(1), drawn)


def rows_of(count):
    """As `rows`, without touching the process' generator."""
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("seed", range(8))
def test_random_calls(shm, seed):
    shm.run(random_calls, seed, size=2 + seed % 3)
