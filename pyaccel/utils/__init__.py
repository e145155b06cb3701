"""Everyday helpers under accelerate's names, each imported at its first use."""

from importlib import import_module

# As typing's, of which the import would cost more than the rest of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .dataclasses import (
        DistributedType,
        InitProcessGroupKwargs,
        KwargsHandler,
        PrecisionType,
    )
    from .environment import (
        clear_environment,
        get_int_from_env,
        parse_choice_from_env,
        parse_flag_from_env,
        str_to_bool,
    )
    from .operations import (
        broadcast,
        broadcast_object_list,
        gather,
        gather_object,
    )

# Public name -> the module that defines it.
_NAMES = {
    "DistributedType": "pyaccel.utils.dataclasses",
    "InitProcessGroupKwargs": "pyaccel.utils.dataclasses",
    "KwargsHandler": "pyaccel.utils.dataclasses",
    "PrecisionType": "pyaccel.utils.dataclasses",
    "broadcast": "pyaccel.utils.operations",
    "broadcast_object_list": "pyaccel.utils.operations",
    "clear_environment": "pyaccel.utils.environment",
    "gather": "pyaccel.utils.operations",
    "gather_object": "pyaccel.utils.operations",
    "get_int_from_env": "pyaccel.utils.environment",
    "parse_choice_from_env": "pyaccel.utils.environment",
    "parse_flag_from_env": "pyaccel.utils.environment",
    "str_to_bool": "pyaccel.utils.environment",
}

__all__ = [
    "DistributedType",
    "InitProcessGroupKwargs",
    "KwargsHandler",
    "PrecisionType",
    "broadcast",
    "broadcast_object_list",
    "clear_environment",
    "gather",
    "gather_object",
    "get_int_from_env",
    "parse_choice_from_env",
    "parse_flag_from_env",
    "str_to_bool",
]


def __getattr__(name):
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_NAMES))
