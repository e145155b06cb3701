"""What a prepared model takes and gives, whatever the model."""

import gc
import weakref
from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

from pyaccel import PartialState, inference
from pyaccel.inference import explain, prepare_pippy
from tests.harness import here

Pair = namedtuple("Pair", ["first", "second"])


class Stack(nn.Module):
    """Blocks, and a way of one's own to call them."""

    def __init__(self, width=8, depth=4):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Structured(Stack):
    """Returns tensors of all blocks in containers of many kinds, and plain values."""

    def forward(self, x, scale=None, *, named=None):
        seen = [x]
        for block in self.blocks:
            seen.append(block(seen[-1] * (1 if scale is None else scale)))
        return OrderedDict(
            tensors=tuple(seen),
            pair=Pair(seen[1], None),
            nested={"deep": [{"x": seen[-1]}], "number": 7, "none": None},
            named=None if named is None else named["shift"] + seen[-1],
            mean=seen[-1].mean(),
        )


class ByValue(Stack):
    """Looks at values between blocks, and changes tensors in place."""

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
            if x.sum() > 0:
                x = x.clone()
                x[:, 0] += 1
                x.mul_(2)
            positive = x[x > 0]
            x = x + positive.mean() + x.argmax().item()
        return x, len(positive.tolist())


class Refusing(Stack):
    """Has a block that raises on the rank that runs it."""

    def __init__(self):
        super().__init__()
        self.blocks[3].forward = self.refuse
        self.willing = True

    def refuse(self, x):
        if not self.willing:
            raise LookupError("no such page")
        return x


def prepared(kind=Stack, **options):
    """A prepared model, and the same one whole."""
    PartialState(cpu=True)
    torch.manual_seed(0)
    whole = kind().eval()
    torch.manual_seed(0)
    return prepare_pippy(kind().eval(), **options), whole


def rows(count):
    torch.manual_seed(count)
    return torch.randn(count, 8)


def equal(got, expected):
    """Whether two results are built alike, of the same bits."""
    assert type(got) is type(expected)
    if isinstance(got, torch.Tensor):
        return torch.equal(got, expected)
    if isinstance(got, dict):
        assert list(got) == list(expected)
        return all(equal(got[key], expected[key]) for key in got)
    if isinstance(got, (list, tuple)):
        assert len(got) == len(expected)
        return all(map(equal, got, expected))
    return got == expected


def any_batch(counts):
    model, whole = prepared()
    for chunks in counts:
        model.pippy_stage.num_chunks = chunks
        for batch in (1, 2, 3, 7, 3):
            x = rows(batch)
            with torch.no_grad():
                output = model(x if here.rank == 0 else None)
                expected = torch.cat([whole(part) for part in x.tensor_split(chunks)])
            if here.rank == here.size - 1:
                assert torch.equal(output, expected)
            else:
                assert output is None


@pytest.mark.parametrize("size", [2, 3, 4])
def test_any_batch_in_any_number_of_chunks(backend, size):
    backend.run(any_batch, (1, 2, 3, 5), size=size)


def any_structure():
    model, whole = prepared(Structured, gather_output=True, num_chunks=1)
    calls = [
        ((rows(3),), {}),
        ((rows(3), 2.0), {}),
        ((rows(4),), {"named": {"shift": rows(4)}}),
        ((rows(3),), {"scale": torch.tensor(0.5)}),
    ]
    for args, kwargs in calls:
        with torch.no_grad():
            assert equal(model(*args, **kwargs), whole(*args, **kwargs))


@pytest.mark.parametrize("size", [2, 3])
def test_structures_of_outputs_are_kept(shm, size):
    shm.run(any_structure, size=size)


def merged():
    model, whole = prepared(Structured, gather_output=True, num_chunks=2)
    with torch.no_grad():
        output = model(rows(5), named={"shift": rows(5)})
        expected = whole(rows(5), named={"shift": rows(5)})
    assert output["nested"]["number"] == 7
    assert output["pair"].second is None
    for got, one in zip(output["tensors"], expected["tensors"], strict=True):
        assert torch.allclose(got, one)
    # Three rows and two: the mean counts rows, not chunks.
    assert torch.allclose(output["mean"], expected["mean"])


def test_chunks_are_put_together(shm):
    shm.run(merged, size=2)


def by_value():
    model, whole = prepared(ByValue, gather_output=True, num_chunks=1)
    for batch in (2, 3, 2):
        with torch.no_grad():
            assert equal(model(rows(batch)), whole(rows(batch)))


@pytest.mark.parametrize("size", [2, 3])
def test_code_between_units_may_look_at_values(shm, size):
    shm.run(by_value, size=size)


def named_points():
    model, whole = prepared(split_points=["blocks.1", "blocks.3"])
    stage = model.pippy_stage
    assert model.hf_split_points == ["blocks.1", "blocks.3"]
    assert [unit.owner for unit in stage.units.values()] == [0, 1, 1, 2]
    with torch.no_grad():
        output = model(rows(4))
    if here.rank == 2:
        parts = [whole(part) for part in rows(4).tensor_split(3)]
        assert torch.equal(output, torch.cat(parts))
    explain(model)


def test_named_points_begin_stages(ranks):
    outcomes = ranks.run(named_points, size=3, check=False)
    assert all(outcome.exit is None for outcome in outcomes)
    assert "blocks.1" in outcomes[0].stdout
    assert "stages begin where split_points says" in outcomes[0].stdout
    assert outcomes[1].stdout == ""


REFUSED = [
    ({"split_points": ["nowhere"]}, ValueError, "nowhere"),
    ({"split_points": ["blocks.1", "blocks.1"]}, ValueError, "blocks.1"),
    ({"split_points": ["blocks.0"]}, ValueError, "blocks.0"),
    ({"split_points": "even"}, ValueError, "even"),
    ({"num_chunks": 0}, ValueError, "num_chunks is 0"),
    ({"placement": "luck"}, ValueError, "luck"),
]


def refused(number):
    options, kind, word = REFUSED[number]
    with pytest.raises(kind, match=word):
        prepared(**options)
    # The ranks are in step.
    model, _ = prepared(gather_output=True)
    model(rows(2))


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_cannot_be_prepared_is_refused_everywhere(shm, number):
    shm.run(refused, number, size=2)


def refused_models():
    PartialState(cpu=True)
    with pytest.raises(TypeError, match="torch.nn.Module"):
        prepare_pippy("model")
    with pytest.raises(ValueError, match="no parts with parameters"):
        prepare_pippy(nn.Tanh())
    with pytest.raises(ValueError, match="1 parts"):
        prepare_pippy(nn.Sequential(nn.Linear(2, 2)))
    model, _ = prepared()
    with pytest.raises(ValueError, match="prepared before"):
        prepare_pippy(model)
    with pytest.raises(NotImplementedError, match="no gradients"):
        model.train()(rows(2))
    with pytest.raises(ValueError, match="chunk_spec"):
        model.eval()(torch.tensor(1.0))
    with pytest.raises(ValueError, match="was not prepared"):
        explain(Stack())


def test_models_that_cannot_be_prepared_are_refused(shm):
    shm.run(refused_models, size=2)


def failing():
    model, _ = prepared(Refusing, gather_output=True)
    model(rows(2))
    inner = [each for each in model.modules() if isinstance(each, Refusing)]
    inner[0].willing = False
    kind = LookupError if here.rank == 1 else inference_error()
    with pytest.raises(kind, match="no such page") as caught:
        model(rows(2))
    if here.rank == 0:
        assert "rank 1" in str(caught.value)
        assert "blocks.3" in str(caught.value)
    inner[0].willing = True
    # The next call is a call like any other.
    assert model(rows(2)).shape == (2, 8)


def inference_error():
    from pyaccel._pipe.link import PipelineError

    return PipelineError


def test_an_error_in_a_unit_is_an_error_of_all(backend):
    backend.run(failing, size=2)


def own_parameters():
    model, whole = prepared()
    total = sum(parameter.numel() for parameter in whole.parameters())
    own = [p for p in model.parameters() if not hasattr(p, "holders")]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    return sum(parameter.numel() for parameter in own) / total


def test_a_rank_keeps_its_own_parameters(shm):
    assert shm.run(own_parameters, size=4) == [0.25] * 4


def alone():
    model, whole = prepared(gather_output=True)
    with torch.no_grad():
        assert torch.equal(model(rows(3)), whole(rows(3)))
    assert model.hf_split_points == []
    assert inference.find_pippy_batch_size((rows(3),), {}) == 3


def test_alone_the_model_is_called_as_it_is(ranks):
    ranks.run(alone, size=1)


def test_a_map_of_stages():
    stages = inference.generate_device_map(Stack(), 2)
    assert list(stages.values()) == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="max_memory allows 10"):
        inference.generate_device_map(Stack(), 2, max_memory={1: 10})


def wraps_its_forward():
    from pyaccel.utils import extract_model_from_parallel

    model, _ = prepared()
    assert model.forward.__wrapped__ == model._original_forward
    extract_model_from_parallel(model, keep_fp32_wrapper=False)


def test_forward_can_be_unwrapped(shm):
    shm.run(wraps_its_forward, size=2)


def let_go():
    model, _ = prepared(gather_output=True)
    model(rows(2))
    link, watched = model.pippy_stage.link, weakref.ref(model)
    before = len(link.learners)
    del model
    gc.collect()
    assert watched() is None
    assert len(link.learners) < before


def test_a_model_that_nobody_has_is_gone(shm):
    shm.run(let_go, size=2)
