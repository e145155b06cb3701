"""Calls in several chunks that depend on each other, or of which one fails."""

import pytest
import torch

from pyaccel import PartialState
from pyaccel._pipe.link import PipelineError
from pyaccel.inference import prepare_pippy
from tests.distributed.pipeline.compare import seeded
from tests.distributed.pipeline.rows import load
from tests.distributed.pipeline.test_calls import prepared, rows
from tests.harness import here

SIX = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}


def llama(**options):
    """A prepared Llama, the same one whole, and tokens for it."""
    PartialState(cpu=True)
    row = load()["llama"]
    model = prepare_pippy(seeded(row.build), **options)
    return model, seeded(row.build), seeded(row.inputs, 1)["input_ids"]


def caches_of_chunks():
    model, whole, tokens = llama(gather_output=True, num_chunks=2)
    with torch.no_grad():
        first = model(input_ids=tokens, use_cache=True)
        more = tokens[:, :3]
        second = model(input_ids=more, past_key_values=first.past_key_values)
        expected = []
        for part, rest in zip(
            tokens.tensor_split(2), more.tensor_split(2), strict=True
        ):
            cache = whole(input_ids=part, use_cache=True).past_key_values
            expected.append(whole(input_ids=rest, past_key_values=cache).logits)
        assert torch.equal(second.logits, torch.cat(expected))
        assert first.past_key_values.get_seq_length() == 15
        with pytest.raises((ValueError, PipelineError), match="same batch size"):
            model(input_ids=more[:2], past_key_values=first.past_key_values)
        assert model(input_ids=tokens).logits.shape == (5, 12, 100)


@pytest.mark.parametrize("size", [2, 3])
def test_caches_of_chunks_go_on(shm, size):
    shm.run(caches_of_chunks, size=size)


class Refusal:
    """A processor of logits that refuses what it is told to refuse."""

    def __init__(self):
        self.refuses = None

    def __call__(self, input_ids, scores):
        if self.refuses is not None and (input_ids == self.refuses).any():
            raise LookupError("this token is not allowed")
        return scores


def one_loop_fails():
    model, whole, tokens = llama()
    processor = Refusal()
    with torch.no_grad():
        expected = whole.generate(tokens, **SIX)
        for refused in (None, 98, None):
            tokens[4, 3] = 98
            processor.refuses = refused
            options = {**SIX, "logits_processor": [processor]}
            if refused is None:
                assert model.generate(tokens, **options).shape == expected.shape
                continue
            # Every rank runs the processor, so that it is every rank's own error.
            with pytest.raises((LookupError, PipelineError), match="not allowed"):
                model.generate(tokens, **options)


@pytest.mark.parametrize("size", [2, 3])
def test_a_loop_that_fails_ends_all(shm, size):
    shm.run(one_loop_fails, size=size)


def generated():
    model, whole, tokens = llama()
    with torch.no_grad():
        parts = [whole.generate(part, **SIX) for part in tokens.tensor_split(here.size)]
        for _ in range(2):
            assert torch.equal(model.generate(tokens, **SIX), torch.cat(parts))


@pytest.mark.parametrize("size", [2, 3])
def test_generate_over_every_backend(backend, size):
    backend.run(generated, size=size)


def more_stages_than_ranks():
    points = ["blocks.1", "blocks.2", "blocks.3"]
    model, whole = prepared(split_points=points, gather_output=True)
    owners = [unit.owner for unit in model.pippy_stage.units.values()]
    assert owners == [0, 1, 0, 1]
    with torch.no_grad():
        parts = [whole(part) for part in rows(5).tensor_split(2)]
        assert torch.equal(model(rows(5)), torch.cat(parts))


def test_stages_may_be_more_than_ranks(shm):
    shm.run(more_stages_than_ranks, size=2)
