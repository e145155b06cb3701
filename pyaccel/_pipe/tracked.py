"""The placeholder: a tensor whose bytes some ranks hold, and all know the rest."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .spec import Spec, spec_of

if TYPE_CHECKING:
    from .link import Link, Pending


class GlueError(RuntimeError):
    """Code between units did what cannot be placed on a rank."""


class Parameter(NamedTuple):
    """A parameter of a unit, by names that are the same on every rank."""

    unit: str
    path: str

    def __str__(self) -> str:
        return f"{self.unit}.{self.path}"


class Tracked(torch.Tensor):
    """A tensor that stands on the ranks of `holders`, a bit each.

    Shape, strides, dtype and holders are the same on every rank; `value` is the tensor
    itself on a holder (or a receive that has not been waited for) and None elsewhere.
    Operations on it come to `Link.glue`, from C++ too, so that models see a tensor.
    """

    spec: Spec
    holders: int
    value: torch.Tensor | Pending | None
    absent: Parameter | None  # the parameter of another rank that this stands for
    # Placeholders of the same storage: views, and what they are views of.
    family: list[weakref.ref[Tracked]] | None
    link: Link

    @staticmethod
    def __new__(cls, link: Link, spec: Spec, holders: int, value: Any = None):
        """A placeholder of a spec, on the device of this rank."""
        made = torch.Tensor._make_wrapper_subclass(
            cls, spec.shape, strides=spec.stride, dtype=spec.dtype, device=link.device
        )
        made.link = link
        made.spec = spec
        made.holders = holders
        made.value = value
        made.absent = None
        made.family = None
        return made

    def __init__(self, *_: Any):
        """Everything is set by `__new__`, which also torch calls."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Hands an operation to the link of a placeholder among its arguments."""
        link = first_link(args) or first_link(tuple((kwargs or {}).values()))
        assert link is not None  # torch calls this for a placeholder alone
        return link.glue(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents=None):
        """Says what is known without the bytes, which are not fetched for that."""
        ranks = ", ".join(map(str, ranks_of(self.holders)))
        return (
            f"Tracked(shape={tuple(self.spec.shape)}, dtype={self.spec.dtype}, "
            f"on rank {ranks})"
        )

    # These read memory without an operation that torch would hand over.

    def tolist(self):
        """As torch.Tensor.tolist, on every rank."""
        return self.link.replicate(self).tolist()

    def numpy(self, *args, **kwargs):
        """As torch.Tensor.numpy, on every rank."""
        return self.link.replicate(self).numpy(*args, **kwargs)

    def __array__(self, *args, **kwargs):
        """As torch.Tensor.__array__, on every rank."""
        return self.link.replicate(self).__array__(*args, **kwargs)

    def __deepcopy__(self, memo):
        """A copy with memory of its own, where there is any."""
        if self.absent is not None:
            made = Tracked(self.link, self.spec, self.holders)
            made.absent = self.absent
            return made
        return self.clone()

    def __reduce_ex__(self, protocol):
        """Refuses: a pickle of this rank's part would be no tensor."""
        raise GlueError(f"{self!r} stands on other ranks and cannot be pickled here")

    def data_ptr(self):
        """Refuses: there may be no memory here."""
        raise GlueError(f"{self!r} has no address: its bytes may be on another rank")


def first_link(values: Any) -> Link | None:
    """The link of the first placeholder in the arguments of an operation."""
    for value in values:
        if isinstance(value, Tracked):
            return value.link
        if isinstance(value, (tuple, list)):
            found = first_link(value)
            if found is not None:
                return found
    return None


def real(tensor: Any) -> Any:
    """The tensor itself, waited for if it is on its way; others as they are."""
    if not isinstance(tensor, Tracked):
        return tensor
    value = tensor.value
    if value is not None and not isinstance(value, torch.Tensor):
        value = tensor.value = value.take()
    return value


def known(tensor: torch.Tensor) -> Spec:
    """The spec of a tensor or placeholder."""
    return tensor.spec if isinstance(tensor, Tracked) else spec_of(tensor)


def ranks_of(holders: int) -> list[int]:
    """The ranks whose bits are set, in order."""
    return [rank for rank in range(holders.bit_length()) if holders >> rank & 1]


def last_of(holders: int) -> int:
    """The latest rank whose bit is set: the one from which a tensor is fetched."""
    return holders.bit_length() - 1


def join_family(tracked: Tracked, base: Tracked) -> None:
    """Notes that one placeholder is a view of another's storage."""
    if base.family is None:
        base.family = [weakref.ref(base)]
    tracked.family = base.family
    base.family.append(weakref.ref(tracked))


def written(tracked: Tracked) -> None:
    """After a change in place: copies on ranks that did not make it count no more."""
    if tracked.family is None:
        return
    for reference in tracked.family:
        other = reference()
        if other is not None and other.holders & ~tracked.holders:
            other.holders &= tracked.holders
            if not other.holders >> other.link.rank & 1:
                other.value = None
