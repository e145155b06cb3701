"""Which devices this process can use; `imports` offers these names."""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .environment import parse_flag_from_env, patch_environment
from .versions import is_torch_version


def is_importable(package: str) -> bool:
    """Imports a package that adds a device to torch; False where it cannot be."""
    try:
        # A parent package that is missing raises, one of its parts does not.
        if find_spec(package) is None:
            return False
        import_module(package)
    except Exception:  # A package for hardware that is not there may raise anything.
        return False
    return True


def _has_device(name: str, plugin: str | None = None) -> bool:
    """Whether torch drives a device of that name here, after importing its package."""
    if plugin is not None and not is_importable(plugin):
        return False
    import torch

    module: Any = getattr(torch, name, None)
    try:
        return module is not None and bool(module.is_available())
    except RuntimeError:  # How some drivers say that they find no device.
        return False


def is_torch_distributed_available() -> bool:
    """Whether torch was built with torch.distributed."""
    import torch

    return torch.distributed.is_available()


def is_xccl_available() -> bool:
    """Whether torch.distributed has the backend of Intel's devices."""
    import torch

    return (
        is_torch_version(">=", "2.7.0")
        and torch.distributed.is_available()
        and torch.distributed.is_xccl_available()
    )


def is_rocm_available() -> bool:
    """Whether torch was built for AMD's devices and finds one."""
    import torch

    return torch.version.hip is not None and torch.cuda.is_available()


def is_cuda_available() -> bool:
    """Whether there is a CUDA device; CUDA is not initialised by the question."""
    import torch

    # So the driver's management library is asked, and the process may still fork.
    with patch_environment(PYTORCH_NVML_BASED_CUDA_CHECK="1"):
        return torch.cuda.is_available()


def is_mps_available(min_version: str = "1.12") -> bool:
    """Whether there is Apple's device and torch, of at least a version, drives it."""
    import torch

    return (
        is_torch_version(">=", min_version)
        and torch.backends.mps.is_available()
        and torch.backends.mps.is_built()
    )


@lru_cache
def is_mlu_available(check_device: bool = False) -> bool:
    """Whether torch_mlu is installed and finds a device."""
    with patch_environment(PYTORCH_CNDEV_BASED_MLU_CHECK="1"):
        return _has_device("mlu", "torch_mlu")


@lru_cache
def is_musa_available(check_device: bool = False) -> bool:
    """Whether torch_musa is installed and finds a device."""
    return _has_device("musa", "torch_musa")


@lru_cache
def is_npu_available(check_device: bool = False) -> bool:
    """Whether torch_npu is installed and finds a device."""
    return _has_device("npu", "torch_npu")


@lru_cache
def is_sdaa_available(check_device: bool = False) -> bool:
    """Whether torch_sdaa is installed and finds a device."""
    return _has_device("sdaa", "torch_sdaa")


@lru_cache
def is_hpu_available(init_hccl: bool = False) -> bool:
    """Whether Habana's package is installed and finds a device.

    `init_hccl` imports the backend of its processes as well.
    """
    if not _has_device("hpu", "habana_frameworks.torch"):
        return False
    if init_hccl:
        import_module("habana_frameworks.torch.distributed.hccl")
    return True


def is_habana_gaudi1() -> bool:
    """Whether the device is a Gaudi of the first generation."""
    if not is_hpu_available():
        return False
    experimental = import_module("habana_frameworks.torch.utils.experimental")
    return experimental._get_device_type() == experimental.synDeviceType.synDeviceGaudi


@lru_cache
def is_xpu_available(check_device: bool = False) -> bool:
    """Whether torch, 2.7 or later, drives one of Intel's devices here."""
    return is_torch_version(">", "2.6") and _has_device("xpu")


@lru_cache
def is_neuron_available(check_device: bool = False) -> bool:
    """Whether torch_neuronx is installed and finds a device."""
    return _has_device("neuron", "torch_neuronx")


@lru_cache
def is_torch_xla_available(
    check_is_tpu: bool = False, check_is_gpu: bool = False
) -> bool:
    """Whether torch_xla is installed, and drives a TPU or a GPU if that is asked.

    Never where the variable USE_TORCH_XLA says no.
    """
    if check_is_tpu and check_is_gpu:
        raise AssertionError(
            "is_torch_xla_available: check_is_tpu and check_is_gpu are both true, and "
            "a device is only one of the two: ask for one"
        )
    if not parse_flag_from_env("USE_TORCH_XLA", True) or not is_importable("torch_xla"):
        return False
    if not check_is_tpu and not check_is_gpu:
        return True
    kind = import_module("torch_xla.runtime").device_type()
    return kind == "TPU" if check_is_tpu else kind in ("GPU", "CUDA")


def is_bf16_available(ignore_tpu: bool = False) -> bool:
    """Whether the device of this process computes in bfloat16.

    `ignore_tpu` answers no for a TPU.
    """
    import torch

    if is_torch_xla_available(check_is_tpu=True):
        return not ignore_tpu
    if is_mps_available():
        return torch.backends.mps.is_macos_or_newer(14, 0)
    for name, has_device in (
        ("cuda", is_cuda_available),
        ("mlu", is_mlu_available),
        ("xpu", is_xpu_available),
    ):
        if has_device():
            return getattr(torch, name).is_bf16_supported()
    return True


def is_fp16_available() -> bool:
    """Whether the device of this process computes in float16."""
    return not is_habana_gaudi1()
