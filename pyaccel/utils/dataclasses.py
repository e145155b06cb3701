"""The enumerations and keyword holders that are part of accelerate's interface."""

import copy
import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .environment import clear_environment


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


@dataclass
class InitProcessGroupKwargs(KwargsHandler):
    """Arguments for setting the group up, for `Accelerator(kwargs_handlers=[...])`.

    `timeout` is how long an operation waits for the other processes; None stands for
    ten minutes with nccl and thirty with any other backend.
    """

    backend: str | None = "nccl"
    init_method: str | None = None
    timeout: timedelta | None = None

    def __post_init__(self):
        if self.timeout is None:
            self.timeout = timedelta(seconds=600 if self.backend == "nccl" else 1800)
