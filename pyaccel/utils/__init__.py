"""Everyday helpers under accelerate's names, each imported at its first use.

`__init__.pyi` says the same names to type checkers.
"""

import sys
from importlib import import_module

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
    "tqdm": "pyaccel.utils.tqdm",
}

__all__ = list(_NAMES)


def __getattr__(name):
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_NAMES))


class _Package(type(sys)):
    """A package in which a name of the table never means a submodule."""

    def __setattr__(self, name, value):
        # Importing the submodule `tqdm` would else hide the function of that name.
        if name not in _NAMES or not isinstance(value, type(sys)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
