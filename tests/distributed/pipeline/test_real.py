"""A real model: MiniLM's encoder over several processes gives the same embeddings."""

import pytest
import torch

from pyaccel import PartialState
from pyaccel.examples._minilm import MiniLM
from pyaccel.inference import prepare_pippy

TEXTS = [
    "Return a list of the words in the string.",
    "Remove and return an item. The order is last in, first out.",
    "A pipe.",
    "Open a file, and read it line by line, without its last character.",
    "Pi.",
]


def embeddings():
    PartialState(cpu=True)
    minilm = MiniLM("cpu")
    expected = minilm.embed(TEXTS, batch_size=3)
    prepare_pippy(minilm.model, num_chunks=1, gather_output=True)
    assert torch.equal(minilm.embed(TEXTS, batch_size=3), expected)
    minilm.model.pippy_stage.num_chunks = 2
    assert torch.allclose(minilm.embed(TEXTS, batch_size=3), expected, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3])
def test_the_same_embeddings(shm, size):
    shm.run(embeddings, size=size, timeout=120.0)
