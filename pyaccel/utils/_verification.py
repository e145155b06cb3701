"""Debug mode: shapes and devices are compared before an operation, in accelerate's
words."""

from functools import wraps

import torch

from .. import _C, _group
from .._C import DistributedOperationException
from ..state import PartialState
from ._nested import recursively_apply


def debugging() -> bool:
    """Whether the state asks for debug mode."""
    return bool(PartialState._shared_state.get("debug"))


def share(comm: "_C.Comm", operation: str, own, refused: Exception | None) -> list:
    """Collective. What every rank says, in rank order. A rank that has an error instead
    raises it, and the others one that names the rank and says what it was."""
    said = None if refused is None else str(refused)
    reports = _group.exchange(comm, (own, said), operation)
    if refused is not None:
        raise refused
    for rank, (_, said) in enumerate(reports):
        if said is not None:
            raise DistributedOperationException(
                f"{operation}: rank {rank} could not take part in {operation}: {said}"
            )
    return [report for report, _ in reports]


def verify(comm: "_C.Comm", tree, function, name: str, shape_of=None) -> None:
    """Collective. Refuses leaves on another device than the state's, or of shapes that
    are not those of the other processes.

    `function` is the name for refused types, `name` the operation's; `shape_of` says
    what is compared of a leaf, its shape if not given.
    """
    expected = PartialState().device.type
    devices: list[str] = []

    def shape(leaf):
        devices.append(leaf.device.type if isinstance(leaf, torch.Tensor) else "cpu")
        if getattr(leaf, "is_nested", False):
            return "nested"  # it has no shape; the operation refuses it or leaves it
        return shape_of(leaf) if shape_of is not None else list(leaf.shape)

    shape.__name__ = function
    shapes, refused = None, None
    try:
        shapes = recursively_apply(
            shape, tree, test_type=is_leaf, error_on_other_type=True
        )
    except Exception as error:
        refused = error
    wrong = next((device for device in devices if device != expected), None)
    reports = share(comm, name.rpartition(".")[2], (wrong, shapes), refused)
    for wrong, _ in reports:
        if wrong is not None:
            raise DistributedOperationException(
                f"One or more of the tensors passed to {name} were not on the {wrong} "
                f"while the `Accelerator` is configured for {expected}. Please move it "
                f"to the {expected} before calling {name}."
            )
    if any(shapes != reports[0][1] for _, shapes in reports):
        lines = "\n  - ".join(
            f"Process {rank}: {shapes}" for rank, (_, shapes) in enumerate(reports)
        )
        raise DistributedOperationException(
            "Cannot apply desired operation due to shape mismatches. All shapes across "
            f"devices must be valid.\n\nOperation: `{name}`\nInput shapes:\n  - {lines}"
        )


def is_leaf(value) -> bool:
    """Whether a value can be sent to other processes."""
    return _C.is_leaf(value)


is_leaf.__name__ = "is_torch_tensor"  # for accelerate's text on other types


def verify_operation(function):
    """A function whose argument `tensor` is compared on all processes in debug mode."""

    @wraps(function)
    def verifying(*args, **kwargs):
        if not PartialState._shared_state:
            PartialState()
        if _group.comm is not None and debugging():
            tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            verify(_group.comm, tensor, function.__name__, _full_name(function))
        return function(*args, **kwargs)

    return verifying


def chained_operation(function):
    """A function of which a failed operation within is told by the function's name."""

    @wraps(function)
    def chaining(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except DistributedOperationException as error:
            raise DistributedOperationException(
                f"Error found while calling `{_full_name(function)}`. Please see the "
                "earlier error for more details."
            ) from error

    return chaining


def _full_name(function) -> str:
    return f"{function.__module__}.{function.__name__}"
