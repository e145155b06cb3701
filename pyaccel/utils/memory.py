"""Living within a device's memory: give back what is free, try again with less."""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Callable
from functools import partial, wraps
from inspect import Parameter, signature
from typing import Any

# Devices whose allocator of torch keeps freed memory until it is asked to let go.
_CACHING = ("cuda", "mps", "xpu", "mlu", "sdaa", "musa", "npu", "neuron")

# What messages of RuntimeError say when there was not enough memory: every kind of
# device, the host, and cuDNN, which has this status for want of a workspace.
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUDNN_STATUS_NOT_SUPPORTED",
)


def clear_device_cache(garbage_collection: bool = False) -> None:
    """Gives memory back to the device that torch keeps for later and nothing uses.

    `garbage_collection` first collects objects that refer to each other in a circle.
    """
    if garbage_collection:
        gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return  # Without torch there is nothing to give back.
    for name in _CACHING:
        module = getattr(torch, name, None)
        if module is not None and hasattr(module, "empty_cache"):
            available = getattr(module, "is_available", None)
            if available is None or available():
                module.empty_cache()


def release_memory(*objects: Any) -> list[None]:
    """As many None as there are objects, to assign to the names that hold them.

    `a, b = release_memory(a, b)` lets go of both, and what was free before goes back to
    the device at once. References elsewhere keep an object alive.
    """
    clear_device_cache(garbage_collection=True)
    return [None] * len(objects)


def should_reduce_batch_size(exception: BaseException) -> bool:
    """Whether an exception says that memory ran out, so that less may work."""
    if isinstance(exception, MemoryError):
        return True
    if not isinstance(exception, RuntimeError):
        return False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(exception, torch.cuda.OutOfMemoryError):
        return True
    return any(sign in str(exception) for sign in _SIGNS)


def find_executable_batch_size(
    function: Callable[..., Any] | None = None,
    starting_batch_size: int = 128,
    reduce_batch_size_fn: Callable[[], int] | None = None,
) -> Callable[..., Any]:
    """Decorates a function of a batch size: tries less until the memory is enough.

    The batch size is passed as the first argument, and callers leave it out. What
    worked is where the next call begins. `reduce_batch_size_fn` gives the next size to
    try; without one it is nine tenths of the last. RuntimeError when zero is reached.
    """
    if function is None:
        return partial(
            find_executable_batch_size,
            starting_batch_size=starting_batch_size,
            reduce_batch_size_fn=reduce_batch_size_fn,
        )
    try:
        size = operator.index(starting_batch_size)
    except TypeError:
        raise TypeError(
            f"starting_batch_size is {starting_batch_size!r}, not an integer: pass the "
            "first batch size to try"
        ) from None

    @wraps(function)
    def tried(*args, **kwargs):
        nonlocal size
        clear_device_cache(garbage_collection=True)
        _check_call(function, args, kwargs)
        while size > 0:
            try:
                return function(size, *args, **kwargs)
            except Exception as error:
                if not should_reduce_batch_size(error):
                    raise
            # Only here is the error gone, whose frames held the tensors of the attempt.
            clear_device_cache(garbage_collection=True)
            size = _less_than(size, reduce_batch_size_fn)
        raise RuntimeError("No executable batch size found, reached zero.")

    return tried


def _less_than(size: int, reduce: Callable[[], int] | None) -> int:
    """The batch size to try after one that was too large."""
    less = int(size * 0.9) if reduce is None else reduce()
    if not less < size:
        raise ValueError(
            f"reduce_batch_size_fn returned {less} after {size} was too large: return "
            "a smaller batch size"
        )
    return less


def _check_call(function: Callable[..., Any], args: tuple, kwargs: dict) -> None:
    """Refuses a call that passes the batch size itself."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return  # Some functions written in C do not say what they take.
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds]
    if len(args) < len(names) and names[0] not in kwargs:
        return
    rest = [f"{k}={v!r}" for k, v in zip(names[1:], args[1:], strict=False)]
    rest += [f"{k}={v!r}" for k, v in kwargs.items() if k not in names[:1]]
    name = getattr(function, "__name__", repr(function))
    raise TypeError(
        f"Batch size was passed into `{name}` as the first argument when called. "
        f"Remove this as the decorator already does so: `{name}({', '.join(rest)})`"
    )
