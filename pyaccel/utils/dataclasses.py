"""The enumerations and keyword holders that are part of accelerate's interface."""

import copy
import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .environment import clear_environment

if TYPE_CHECKING:
    import torch


class DistributedType(str, enum.Enum):
    """How the processes of this program work together."""

    # A string as well, so that a configuration holding one can be written as JSON.
    NO = "NO"
    MULTI_CPU = "MULTI_CPU"
    MULTI_GPU = "MULTI_GPU"
    MULTI_NPU = "MULTI_NPU"
    MULTI_MLU = "MULTI_MLU"
    MULTI_SDAA = "MULTI_SDAA"
    MULTI_MUSA = "MULTI_MUSA"
    MULTI_XPU = "MULTI_XPU"
    DEEPSPEED = "DEEPSPEED"
    FSDP = "FSDP"
    XLA = "XLA"
    MEGATRON_LM = "MEGATRON_LM"
    MULTI_HPU = "MULTI_HPU"
    MULTI_NEURON = "MULTI_NEURON"


class EnumWithContains(enum.EnumMeta):
    """Lets `in` ask for a value as well as for a member."""

    def __contains__(cls, item):
        try:
            cls(item)
        except ValueError:
            return False
        return True


class BaseEnum(enum.Enum, metaclass=EnumWithContains):
    """An enumeration whose members print as their value."""

    def __str__(self):
        return self.value

    @classmethod
    def list(cls):
        """Every value, as text."""
        return list(map(str, cls))


class PrecisionType(str, BaseEnum):
    """The precisions that a program may compute in."""

    NO = "no"
    FP8 = "fp8"
    FP16 = "fp16"
    BF16 = "bf16"


class RNGType(BaseEnum):
    """The sources of random numbers whose state processes can share."""

    TORCH = "torch"
    CUDA = "cuda"
    MLU = "mlu"
    SDAA = "sdaa"
    MUSA = "musa"
    NPU = "npu"
    XLA = "xla"
    XPU = "xpu"
    HPU = "hpu"
    NEURON = "neuron"
    GENERATOR = "generator"
    NUMPY = "numpy"
    PYTHON = "python"


class CustomDtype(enum.Enum):
    """Kinds of numbers that weights are stored in and torch has no dtype for."""

    FP8 = "fp8"
    INT4 = "int4"
    INT2 = "int2"


class ComputeEnvironment(str, enum.Enum):
    """Where a configuration file says that a program runs."""

    LOCAL_MACHINE = "LOCAL_MACHINE"
    AMAZON_SAGEMAKER = "AMAZON_SAGEMAKER"


class LoggerType(BaseEnum):
    """The services that a program's figures can be sent to."""

    ALL = "all"
    AIM = "aim"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    TRACKIO = "trackio"
    COMETML = "comet_ml"
    MLFLOW = "mlflow"
    CLEARML = "clearml"
    DVCLIVE = "dvclive"
    SWANLAB = "swanlab"


@dataclass
class TensorInformation:
    """What a tensor is, without its elements: enough to make another like it."""

    shape: "torch.Size"
    dtype: "torch.dtype"


class KwargsHandler:
    """A dataclass that can be handed on as keyword arguments."""

    def to_dict(self) -> dict[str, Any]:
        """Every field, copied."""
        return copy.deepcopy(self.__dict__)

    def to_kwargs(self) -> dict[str, Any]:
        """The fields that differ from the class' defaults."""
        # Defaults of some classes come from variables, which count as a choice made.
        with clear_environment():
            defaults = type(self)().to_dict()
        return {k: v for k, v in self.to_dict().items() if defaults[k] != v}


class _DefaultTimeout(timedelta):
    """A timeout that nobody asked for, equal to any other of its length."""


@dataclass
class InitProcessGroupKwargs(KwargsHandler):
    """Arguments for setting the group up, for `Accelerator(kwargs_handlers=[...])`.

    `timeout` is how long the set-up and each operation wait for the other processes;
    None stands for ten minutes with nccl and thirty with any other backend.
    """

    backend: str | None = "nccl"
    init_method: str | None = None
    timeout: timedelta | None = None

    def __post_init__(self):
        if self.timeout is None:
            seconds = 600 if self.backend == "nccl" else 1800
            self.timeout = _DefaultTimeout(seconds=seconds)

    def to_kwargs(self) -> dict[str, Any]:
        """The fields that differ from the class' defaults, and a timeout if given.

        Who asks for exactly ten minutes means them, although no field differs then.
        """
        kwargs = super().to_kwargs()
        if not isinstance(self.timeout, _DefaultTimeout):
            kwargs["timeout"] = self.timeout
        return kwargs
