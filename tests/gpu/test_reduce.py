"""Sums of floats over NCCL, which adds in its own order and rounds as it goes."""

import hashlib

import pytest
import torch

from pyaccel.utils import reduce
from tests.distributed import values
from tests.gpu.ways import APART, SHARED
from tests.harness import here

DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64"]


def sums():
    """The bits of all results; each is near what the CPU makes of the same numbers."""
    digest = hashlib.sha256()
    for name in DTYPES:
        dtype = getattr(torch, name)
        for count in (1, 1000, 300_000):
            parts = [
                torch.linspace(0.5 + rank, 2.5 + rank, count).to(dtype)
                for rank in range(here.size)
            ]
            for reduction, scale in (("sum", 1.0), ("mean", 1.0), ("sum", 0.5)):
                got = reduce(parts[here.rank], reduction, scale)
                wide = torch.complex128 if dtype.is_complex else torch.float64
                expected = torch.stack([part.to(wide) for part in parts]).sum(0) * scale
                if reduction == "mean":
                    expected /= here.size
                torch.testing.assert_close(got, expected.to(dtype))
                digest.update(values.bits(got))
    return digest.hexdigest()


@pytest.mark.parametrize("ways", [SHARED, APART], ids=["one GPU", "a GPU each"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_sums_of_floats(ranks, ways, size):
    # The same bits on all ranks, whatever the order was.
    assert len(set(ways["nccl"].over(ranks).run(sums, size=size))) == 1


def largest():
    """NCCL's own maximum loses a NaN; ours keeps it, over every way."""
    own = torch.full((1000,), float(here.rank))
    own[here.rank] = float("nan")
    got = reduce(own, "max")
    return got.isnan().nonzero().flatten().tolist(), got[-1].item()


@pytest.mark.parametrize("size", [2, 3])
def test_a_nan_is_kept(backend, size):
    expected = (list(range(size)), size - 1.0)
    assert backend.run(largest, size=size) == [expected] * size
