"""pyaccel: distributed inference with a C core, a drop-in for accelerate.

Importing the package imports neither torch nor NumPy: every public name is looked up
in the table below and imported at its first use.
"""

# As typing's, of which the import would cost more than the rest of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .accelerator import Accelerator
    from .inference import prepare_pippy
    from .state import PartialState
    from .utils.dataclasses import DistributedType, InitProcessGroupKwargs
    from .utils.imports import is_rich_available
    from .utils.memory import find_executable_batch_size
    from .utils.random import synchronize_rng_states

__version__ = "0.1.0"

# Public name -> the module that defines it.
_NAMES = {
    "Accelerator": "pyaccel.accelerator",
    "DistributedType": "pyaccel.utils.dataclasses",
    "InitProcessGroupKwargs": "pyaccel.utils.dataclasses",
    "PartialState": "pyaccel.state",
    "find_executable_batch_size": "pyaccel.utils.memory",
    "is_rich_available": "pyaccel.utils.imports",
    "prepare_pippy": "pyaccel.inference",
    "synchronize_rng_states": "pyaccel.utils.random",
}

__all__ = [
    "Accelerator",
    "DistributedType",
    "InitProcessGroupKwargs",
    "PartialState",
    "__version__",
    "find_executable_batch_size",
    "is_rich_available",
    "prepare_pippy",
    "synchronize_rng_states",
]


def __getattr__(name):
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Imported here, as the launcher does without it.
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_NAMES))
