"""Helpers on models, files, names and the machine."""

from __future__ import annotations

import platform
import re
import socket
from functools import reduce
from typing import TYPE_CHECKING, Any

from ..logging import _warn_first
from ..state import PartialState
from ._modules import (
    extract_model_from_parallel,
    get_model_tp_size,
    get_module_children_bottom_up,
    has_compiled_regions,
    has_repeated_blocks,
    is_compiled_module,
    is_repeated_blocks,
    model_has_dtensor,
)
from ._regions import compile_regions
from ._saving import clean_state_dict_for_safetensors, load, save

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = [
    "check_os_kernel",
    "clean_state_dict_for_safetensors",
    "compile_regions",
    "convert_bytes",
    "extract_model_from_parallel",
    "get_free_port",
    "get_model_tp_size",
    "get_module_children_bottom_up",
    "get_pretty_name",
    "has_compiled_regions",
    "has_repeated_blocks",
    "is_compiled_module",
    "is_port_in_use",
    "is_repeated_blocks",
    "load",
    "merge_dicts",
    "model_has_dtensor",
    "recursive_getattr",
    "save",
    "wait_for_everyone",
]

_DEFAULT_PORT = 29500  # where torch's launchers listen unless told otherwise
_GOOD_KERNEL = (5, 5)  # before it, processes were seen to hang


def wait_for_everyone() -> None:
    """Waits until every process has come here, as `PartialState` does."""
    PartialState().wait_for_everyone()


def convert_bytes(size: float) -> str:
    """A number of bytes as people write it: 1536 is "1.5 KB"."""
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 1024.0:
            return f"{round(size, 2)} {unit}"
        size /= 1024.0
    return f"{round(size, 2)} PB"


def get_pretty_name(obj: Any) -> str:
    """The name of a class or function, and of anything else its class'."""
    if not hasattr(obj, "__qualname__") and not hasattr(obj, "__name__"):
        obj = type(obj)
    return str(getattr(obj, "__qualname__", None) or obj.__name__)


def merge_dicts(source: dict, destination: MutableMapping) -> MutableMapping:
    """Writes `source` into `destination`, dicts in dicts as well, and returns that."""
    for key, value in source.items():
        if isinstance(value, dict):
            inner = destination.setdefault(key, {})
            if not isinstance(inner, dict):
                raise TypeError(
                    f"merge_dicts: {key!r} is a dict in the source and {inner!r} in "
                    "the destination: rename one of the two"
                )
            merge_dicts(value, inner)
        else:
            destination[key] = value
    return destination


def recursive_getattr(obj: Any, attr: str) -> Any:
    """An attribute of an attribute: "a.b" is `obj.a.b`."""
    return reduce(getattr, attr.split("."), obj)


def is_port_in_use(port: int | None = None) -> bool:
    """Whether a program of this machine listens at a port, 29500 for None."""
    port = _DEFAULT_PORT if port is None else port
    if not 0 <= port <= 65535:
        raise OverflowError(f"port is {port}: pass a number from 0 to 65535")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(("localhost", port)) == 0


def get_free_port() -> int:
    """A port at which nobody listens now; another program may take it at any time."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def check_os_kernel() -> None:
    """Warns, on the main process, of a Linux kernel before 5.5.0."""
    system, _, release, *_ = platform.uname()
    version = re.match(r"(\d+)\.(\d+)", release)
    if system != "Linux" or version is None:
        return
    if tuple(map(int, version.groups())) >= _GOOD_KERNEL:
        return
    good = ".".join(map(str, _GOOD_KERNEL)) + ".0"
    _warn_first(
        __name__,
        "this machine's kernel is %s, and with kernels before %s processes were seen "
        "to hang: upgrade it to %s or later",
        release,
        good,
        good,
    )
