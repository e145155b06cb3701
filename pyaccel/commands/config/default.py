"""Writes the configuration that suits this machine, for `launch` to read."""

import json
from pathlib import Path
from typing import Any, Literal

from pyaccel.commands._launch.config_file import default_path

_PRECISIONS = ("no", "fp16", "bf16", "fp8")

default_json_config_file = default_path()


def write_basic_config(
    mixed_precision: str = "no", save_location: str = default_json_config_file
) -> Path | Literal[False]:
    """Writes a configuration for all devices of this machine, and returns its path.

    `launch` reads it by itself where `save_location` is left out. A file that is there
    already stays as it is: that is said, and the result is False.
    """
    precision = str(mixed_precision).lower()
    if precision not in _PRECISIONS:
        raise ValueError(
            "`mixed_precision` should be one of 'no', 'fp16', 'bf16', or 'fp8'. "
            f"Received {mixed_precision}"
        )
    path = Path(save_location)
    text = json.dumps(_configuration(precision), indent=2, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Created here and nowhere else, also where several processes come at once.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        print(
            f"Configuration already exists at {path}, will not override. Change or "
            "remove that file, or pass a different `save_location`."
        )
        return False
    return path


def _configuration(precision: str) -> dict[str, Any]:
    """Every key that accelerate's own function writes."""
    import torch

    from pyaccel._devices import find_accelerator

    kind = find_accelerator()
    count = 1 if kind is None else getattr(torch, kind.name).device_count()
    several = kind is not None and count > 1
    return {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": kind.distributed_type.value if kind and several else "NO",
        "downcast_bf16": False,
        "enable_cpu_affinity": False,
        "machine_rank": 0,
        "main_training_function": "main",
        "mixed_precision": precision,
        "num_machines": 1,
        "num_processes": max(1, count),
        "rdzv_backend": "static",
        "same_network": False,
        "tpu_use_cluster": False,
        "tpu_use_sudo": False,
        "use_cpu": kind is None,
    }
