"""What the tests of GPUs rest on, without one: where tensors are, what is skipped."""

import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils import gather
from tests.distributed import models, values
from tests.gpu import machine, ways
from tests.harness import here

no_gpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason="asks for no GPU, and has one"
)


def test_the_contracts_tensors_stand_where_they_are_put(monkeypatch):
    meta = torch.device("meta")
    monkeypatch.setattr(values, "place", lambda leaf: leaf.to(meta))
    with torch.device(meta):
        for dtype in ("bool", "float32", "float8_e5m2"):
            assert values.tensor(dtype, (2, 3), 1).device == meta
    part = torch.arange(3, device="cpu")
    with torch.device(meta):
        assert values.joined([part, part]).device == part.device
        assert models.reduced([part, part], "sum").device == part.device
        assert models.padded(part, 0, 5, 7).device == part.device


@no_gpu
def test_places_count_in_comparisons():
    assert "device" in values.difference(
        torch.ones(2), torch.ones(2, device="meta"), "it"
    )


def devices():
    got = gather(torch.tensor([here.rank]))
    assert got.tolist() == list(range(here.size))
    return (
        PartialState().device.type,
        got.device.type,
        "staged" in _group.comm.devices(),
    )


@no_gpu
def test_functions_run_with_tensors_of_the_ranks_device(ranks, monkeypatch):
    monkeypatch.setattr(machine, "needs", lambda count: None)
    results = ways.Gpus("staged").over(ranks).run(devices, size=2)
    # Here that is the CPU; the way was asked for all the same.
    assert results == [("cpu", "cpu", True)] * 2


@pytest.mark.parametrize(
    ("gpus", "version", "missing"),
    [
        (0, (2, 30), {"ipc": "CUDA GPU", "nccl": "CUDA GPU", "apart": "CUDA GPU"}),
        (1, (2, 28, 9), {"ipc": None, "nccl": "NCCL 2.30", "apart": "torch sees 1"}),
        (1, (2, 30, 1), {"ipc": None, "nccl": None, "apart": "torch sees 1"}),
        (2, (2, 28), {"ipc": None, "nccl": "2.28", "apart": None}),
    ],
)
def test_what_is_missing_is_said(monkeypatch, gpus, version, missing):
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: version)
    found = {
        "ipc": ways.SHARED["ipc"].missing(),
        "nccl": ways.SHARED["nccl"].missing(),
        "apart": ways.APART["nccl"].missing(),
    }
    for name, words in missing.items():
        # CI lets a test be skipped for the want of a GPU alone.
        assert found[name] is None if words is None else words in found[name]
        assert found[name] is None or "GPU" in found[name]


def test_one_gpu_is_the_first_that_is_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    assert machine.one_visible() == {"CUDA_VISIBLE_DEVICES": "MIG-a"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert machine.one_visible() == {"CUDA_VISIBLE_DEVICES": "0"}
