"""A module that accelerate once had: importing it says where its name is now."""

import warnings

warnings.warn(
    "pyaccel.memory_utils is an old name: import find_executable_batch_size from "
    "pyaccel or pyaccel.utils",
    FutureWarning,
    stacklevel=2,
)
