"""Which kind of device this machine offers, in accelerate's order of preference."""

import os
from importlib import import_module
from typing import NamedTuple

import torch

from .utils._device_checks import is_importable
from .utils.dataclasses import DistributedType


class Accelerator(NamedTuple):
    """A kind of device that torch drives, and what its processes talk through."""

    name: str  # torch.device's type, and the module of torch that drives it
    distributed_type: DistributedType
    backend: str  # of torch.distributed
    # (optional) the package that adds the device to torch, and the one of its backend
    plugin: str | None = None
    backend_plugin: str | None = None

    def is_available(self) -> bool:
        """Whether a device of this kind can be used in this process."""
        if self.plugin is not None and not is_importable(self.plugin):
            return False
        module = getattr(torch, self.name, None)
        return module is not None and bool(module.is_available())


# npu stands before cuda because its package can pass its devices off as cuda's.
ACCELERATORS = (
    Accelerator("mlu", DistributedType.MULTI_MLU, "cncl", "torch_mlu"),
    Accelerator("sdaa", DistributedType.MULTI_SDAA, "tccl", "torch_sdaa"),
    Accelerator("musa", DistributedType.MULTI_MUSA, "mccl", "torch_musa"),
    Accelerator("npu", DistributedType.MULTI_NPU, "hccl", "torch_npu"),
    Accelerator(
        "hpu",
        DistributedType.MULTI_HPU,
        "hccl",
        "habana_frameworks.torch",
        "habana_frameworks.torch.distributed.hccl",
    ),
    Accelerator("cuda", DistributedType.MULTI_GPU, "nccl"),
    Accelerator("xpu", DistributedType.MULTI_XPU, "xccl"),
    Accelerator("neuron", DistributedType.MULTI_NEURON, "neuron", "torch_neuronx"),
)


def find_accelerator() -> Accelerator | None:
    """The first kind of which this machine has a device."""
    return next((kind for kind in ACCELERATORS if kind.is_available()), None)


def group_backend(kind: Accelerator | None, asked: str | None) -> str:
    """The backend of torch.distributed for a group on `kind`, or on CPUs for None.

    `asked` is the caller's wish; a ValueError says where it cannot be had.
    """
    if kind is None:
        available = ["gloo"]
        if torch.distributed.is_mpi_available():
            available.append("mpi")
        backend = asked or "gloo"
        if backend not in available:
            raise ValueError(
                f"Your assigned backend {backend} is not available, please use gloo"
            )
        return backend
    if kind.backend_plugin is not None:
        import_module(kind.backend_plugin)
    if asked is not None:
        return asked
    # torch can be built without nccl or xccl; the devices still work, one a process.
    if kind.plugin is None and not torch.distributed.is_backend_available(kind.backend):
        return "gloo"
    return kind.backend


def default_device() -> torch.device:
    """The device of a process that works alone."""
    if torch.backends.mps.is_available() and torch.backends.mps.is_built():
        # What mps lacks is then computed on the CPU and is no error.
        os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"
        return torch.device("mps")
    kind = find_accelerator()
    return torch.device("cpu" if kind is None else kind.name)


def device_of(distributed_type: DistributedType, local_rank: int) -> torch.device:
    """The device of one process of several on a host, made torch's current one."""
    names = {kind.distributed_type: kind.name for kind in ACCELERATORS}
    names[DistributedType.MULTI_CPU] = "cpu"
    if distributed_type not in names:
        raise ValueError(
            f"{distributed_type} has no device of its own: use one of "
            f"{', '.join(names)}"
        )
    name = names[distributed_type]
    module = getattr(torch, name)
    if name in ("hpu", "neuron"):
        # Their runtimes give each process its device themselves.
        return torch.device(name, module.current_device())
    device = torch.device(name, local_rank % module.device_count())
    module.set_device(device)
    return device
