"""The choice of device and backend, with devices that are only pretended."""

import pytest
import torch

from pyaccel import DistributedType
from pyaccel._devices import (
    ACCELERATORS,
    default_device,
    device_of,
    find_accelerator,
    group_backend,
)

KINDS = {kind.name: kind for kind in ACCELERATORS}


class Module:
    """A module of torch for a device of which there are two."""

    def __init__(self):
        self.chosen = None

    def is_available(self):
        return True

    def device_count(self):
        return 2

    def set_device(self, device):
        self.chosen = device


@pytest.fixture
def without(monkeypatch):
    """No accelerator at all, whatever this machine has."""
    for kind in ACCELERATORS:
        monkeypatch.delattr(torch, kind.name, raising=False)


@pytest.fixture
def cuda(without, monkeypatch):
    module = Module()
    monkeypatch.setattr(torch, "cuda", module, raising=False)
    return module


@pytest.mark.usefixtures("without")
def test_no_accelerator():
    assert find_accelerator() is None
    assert default_device() == torch.device("cpu")
    assert group_backend(None, None) == "gloo"
    assert device_of(DistributedType.MULTI_CPU, 3) == torch.device("cpu", 0)


def test_a_process_alone_takes_the_accelerator(cuda):
    assert find_accelerator() is KINDS["cuda"]
    assert default_device() == torch.device("cuda")


def test_processes_share_devices_out(cuda):
    assert device_of(DistributedType.MULTI_GPU, 1) == torch.device("cuda", 1)
    assert device_of(DistributedType.MULTI_GPU, 2) == torch.device("cuda", 0)
    assert cuda.chosen == torch.device("cuda", 0)


def test_npu_stands_before_cuda(cuda, monkeypatch):
    monkeypatch.setattr(torch, "npu", Module(), raising=False)
    monkeypatch.setattr("pyaccel._devices.is_importable", lambda package: True)
    assert find_accelerator() is KINDS["npu"]


def test_a_package_that_cannot_be_imported_is_no_device(cuda, monkeypatch):
    monkeypatch.setattr(torch, "npu", Module(), raising=False)
    assert find_accelerator() is KINDS["cuda"]


def test_backends(monkeypatch):
    built = {"nccl"}
    monkeypatch.setattr(
        torch.distributed, "is_backend_available", lambda name: name in built
    )
    assert group_backend(KINDS["cuda"], None) == "nccl"
    assert group_backend(KINDS["cuda"], "gloo") == "gloo"
    assert group_backend(KINDS["xpu"], None) == "gloo"
    built.add("xccl")
    assert group_backend(KINDS["xpu"], None) == "xccl"
    assert group_backend(KINDS["mlu"], None) == "cncl"


def test_a_backend_that_cpus_do_not_have():
    with pytest.raises(ValueError, match="Your assigned backend nccl is not available"):
        group_backend(None, "nccl")


def test_a_type_without_a_device():
    with pytest.raises(ValueError, match="XLA has no device of its own"):
        device_of(DistributedType.XLA, 0)
