"""The matrix: models of transformers and diffusers, bit for bit as in one process.

A part of it is run each day; all of it by

    PYACCEL_PIPELINE_ROWS=all python -m pytest tests/distributed/pipeline/test_matrix.py
"""

import pytest

from tests.distributed.pipeline import compare
from tests.distributed.pipeline.rows import load

ROWS = list(load().values())
NUMBERED = [pytest.param(n, row, id=row.name) for n, row in enumerate(ROWS)]
GENERATIVE = [
    pytest.param(n, row, id=row.name) for n, row in enumerate(ROWS) if row.generates
]


@pytest.mark.parametrize(("size", "attention"), [(2, "eager"), (3, "sdpa")])
@pytest.mark.parametrize(("number", "row"), NUMBERED)
def test_forward(shm, number, row, size, attention):
    chosen = attention if row.attention else None
    results = shm.run(compare.forward, row.name, chosen, size=size, timeout=60.0)
    assert results == [[]] * size


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("number", "row"), GENERATIVE)
def test_generate(shm, number, row, size):
    results = shm.run(compare.generate, row.name, size=size, timeout=60.0)
    assert results == [[]] * size
