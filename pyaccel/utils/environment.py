"""What the environment says and what this machine has, as accelerate reads both."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from ._nvidia import (
    _nvidia_smi,
    check_cuda_fp8_capability,
    check_cuda_p2p_ib_support,
    get_driver_version,
    get_gpu_info,
)
from ._purge import purge_accelerate_environment

__all__ = [
    "CPUInformation",
    "_nvidia_smi",
    "are_libraries_initialized",
    "check_cuda_fp8_capability",
    "check_cuda_p2p_ib_support",
    "clear_environment",
    "convert_dict_to_env_variables",
    "get_cpu_distributed_information",
    "get_current_device_type",
    "get_driver_version",
    "get_gpu_info",
    "get_int_from_env",
    "override_numa_affinity",
    "parse_choice_from_env",
    "parse_flag_from_env",
    "patch_environment",
    "purge_accelerate_environment",
    "set_numa_affinity",
    "str_to_bool",
]

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")
_FORBIDDEN = set(";\n<> ")  # what a line of KEY=VALUE for a launcher cannot hold


def str_to_bool(value: str, to_bool: bool = False) -> int | bool:
    """1 for a word that means yes, 0 for one that means no; bools with `to_bool`."""
    word = value.lower()
    if word not in _TRUE and word not in _FALSE:
        raise ValueError(
            f"invalid truth value {word}: write one of {', '.join(_TRUE + _FALSE)}"
        )
    truth = word in _TRUE
    return truth if to_bool else int(truth)


def get_int_from_env(env_keys, default):
    """The first of the variables `env_keys` that holds zero or more, else `default`."""
    for key in env_keys:
        value = int(os.environ.get(key, "-1"))
        if value >= 0:
            return value
    return default


def parse_flag_from_env(key, default=False):
    """Whether the variable `key` means yes; `default` where it is not set."""
    return bool(str_to_bool(os.environ.get(key, str(default))))


def parse_choice_from_env(key, default="no"):
    """The text of the variable `key`; `default` where it is not set."""
    return os.environ.get(key, str(default))


def are_libraries_initialized(*library_names: str) -> list[str]:
    """Those of the named modules that this process has imported."""
    return [name for name in library_names if name in sys.modules]


def convert_dict_to_env_variables(current_env: dict) -> list[str]:
    """The variables as lines KEY=VALUE for a launcher that reads them from a file.

    What such a line cannot hold, and what is empty, is left out with a warning.
    """
    lines = []
    for key, value in current_env.items():
        line = f"{key}={value}"
        if key and str(value) and not _FORBIDDEN & set(line):
            lines.append(line + "\n")
        else:
            logging.getLogger(__name__).warning(
                "Skipping %r: a variable for the launcher needs a name and a value "
                "without blanks, semicolons, < and >",
                line,
            )
    return lines


def get_current_device_type() -> tuple[str, str]:
    """The kind of device as torch names it, and its `DistributedType`.

    ("cuda", "MULTI_GPU") where there is no other device, with or without a GPU.
    """
    from . import _device_checks

    for name in ("mlu", "sdaa", "musa", "npu", "hpu", "xpu", "neuron"):
        if getattr(_device_checks, f"is_{name}_available")():
            return name, f"MULTI_{name.upper()}"
    return "cuda", "MULTI_GPU"


@dataclass
class CPUInformation:
    """A process' place among those that an MPI or a launcher of torch's started."""

    rank: int = field(default=0, metadata={"help": "The number among all."})
    world_size: int = field(default=1, metadata={"help": "How many there are."})
    local_rank: int = field(default=0, metadata={"help": "The number on this host."})
    local_world_size: int = field(
        default=1, metadata={"help": "How many there are on this host."}
    )


def get_cpu_distributed_information() -> CPUInformation:
    """This process' place as variables of torch, PMI, Open MPI or MVAPICH say it."""

    def first(default: int, *names: str) -> int:
        return get_int_from_env(names, default)

    return CPUInformation(
        first(0, "RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
        first(
            1, "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"
        ),
        first(
            0,
            "LOCAL_RANK",
            "MPI_LOCALRANKID",
            "OMPI_COMM_WORLD_LOCAL_RANK",
            "MV2_COMM_WORLD_LOCAL_RANK",
        ),
        first(
            1,
            "LOCAL_WORLD_SIZE",
            "MPI_LOCALNRANKS",
            "OMPI_COMM_WORLD_LOCAL_SIZE",
            "MV2_COMM_WORLD_LOCAL_SIZE",
        ),
    )


def override_numa_affinity(
    local_process_index: int, verbose: bool | None = None
) -> None:
    """Binds this process to the processors next to its GPU, whatever it was bound to.

    Nothing happens without a GPU, or where the kernel knows no processors next to it.
    `verbose` logs the processors; None asks ACCELERATE_DEBUG_MODE.
    """
    from ._affinity import processors_near_gpu

    near = processors_near_gpu(local_process_index)
    if not near:
        return
    os.sched_setaffinity(0, near)
    if verbose is None:
        verbose = parse_flag_from_env("ACCELERATE_DEBUG_MODE")
    if verbose:
        logging.getLogger(__name__).info(
            "process %d of this host is bound to the processors %s",
            local_process_index,
            sorted(near),
        )


@lru_cache
def set_numa_affinity(local_process_index: int, verbose: bool | None = None) -> None:
    """`override_numa_affinity`, once a process: a second call changes nothing."""
    override_numa_affinity(local_process_index, verbose)


@contextmanager
def clear_environment() -> Iterator[None]:
    """Empties the environment for a block, and puts it back whatever the block does."""
    saved = os.environ.copy()
    os.environ.clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


@contextmanager
def patch_environment(**kwargs) -> Iterator[None]:
    """Sets variables for a block, their names in capitals and their values as text.

    Afterwards those variables are as before; others that the block set stay.
    """
    values = {name.upper(): str(value) for name, value in kwargs.items()}
    saved = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
