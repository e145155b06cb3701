"""Counts the CUDA devices without CUDA: the driver's files and one variable say it."""

import os

_DRIVER = "/proc/driver/nvidia/gpus"


def cuda_device_count():
    """How many CUDA devices a worker would see, as far as can be said from outside."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return _named(visible)
    try:
        return len(os.listdir(_DRIVER))
    except OSError:
        return 0


def _named(visible):
    """As CUDA reads the variable: the first entry that names no device ends it.

    Of a GPU that is divided, CUDA shows one instance to a process, however many are
    named.
    """
    count = 0
    for entry in visible.split(","):
        name = entry.strip()
        if not name or name.startswith("-") or name == "NoDevFiles":
            break
        if name.startswith("MIG-"):
            return max(count, 1)
        count += 1
    return count
