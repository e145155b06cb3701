"""The choice of device and backend, with devices that are only pretended."""

import os

import pytest
import torch

from pyaccel import DistributedType, PartialState
from pyaccel._devices import (
    ACCELERATORS,
    default_device,
    device_of,
    find_accelerator,
    group_backend,
)

KINDS = {kind.name: kind for kind in ACCELERATORS}


class Module:
    """A module of torch for a device, of which there are two or as many as said."""

    def __init__(self, count=2):
        self.chosen = None
        self.count = count

    def is_available(self):
        return True

    def device_count(self):
        return self.count

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


class Stop(Exception):
    """Raised where a set-up would begin to meet other processes."""


@pytest.fixture
def set_up(alone, cuda, monkeypatch):
    """Sets the state up as far as this process alone goes; what was decided for it."""

    def until_the_group(local_rank, count, **env):
        cuda.count = count
        given = {"RANK": local_rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": 4, **env}
        for name, value in given.items():
            alone(name, str(value))
        decided = []

        def join(world, backend, options, device):
            decided.append((world, backend, device))
            raise Stop

        monkeypatch.setattr("pyaccel._group.join", join)
        with pytest.raises(Stop):
            PartialState()
        assert not PartialState._shared_state
        return decided[0]

    return until_the_group


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("local_rank", [0, 1, 3])
def test_the_device_of_a_rank(set_up, cuda, local_rank, count):
    """Known to the group when it is joined, and torch's current one by then.

    One device is what torch shows under a mask of its own for each rank, and of a GPU
    that is divided; more processes than devices share them.
    """
    _, _, device = set_up(local_rank, count)
    assert device == torch.device("cuda", local_rank % count)
    assert cuda.chosen == device


def test_a_device_that_was_named(set_up, cuda):
    _, _, device = set_up(1, 2, ACCELERATE_TORCH_DEVICE="cuda:0")
    assert device == torch.device("cuda:0")
    assert cuda.chosen is None


def test_masks_stay_as_they_are(set_up):
    set_up(3, 1, CUDA_VISIBLE_DEVICES="MIG-1a")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-1a"


def test_affinity_is_set_where_it_was_asked_for(set_up, monkeypatch):
    bound = []
    monkeypatch.setattr("pyaccel.state.set_numa_affinity", bound.append)
    set_up(3, 2)
    assert bound == []
    set_up(3, 2, ACCELERATE_CPU_AFFINITY="1")
    assert bound == [3]


def test_gpus_that_do_not_reach_each_other(set_up, monkeypatch):
    """As in accelerate: an error, unless NCCL was told."""
    monkeypatch.setattr("pyaccel.state.check_cuda_p2p_ib_support", lambda: False)
    set_up(0, 2, NCCL_P2P_DISABLE="1", NCCL_IB_DISABLE="1")
    monkeypatch.delenv("NCCL_IB_DISABLE")
    with pytest.raises(NotImplementedError, match="RTX 4000 series .* 550.40.07"):
        PartialState()
    assert not PartialState._shared_state
