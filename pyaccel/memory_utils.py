"""Where accelerate once had `find_executable_batch_size`; importing this warns."""

import warnings

from .utils.memory import find_executable_batch_size

__all__ = ["find_executable_batch_size"]

warnings.warn(
    "pyaccel.memory_utils is an old name: import find_executable_batch_size from "
    "pyaccel or pyaccel.utils",
    FutureWarning,
    stacklevel=2,
)
