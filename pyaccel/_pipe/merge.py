"""Outputs of chunks put together: one output, as the model would have returned it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .effects import Skeletons, fill
from .link import Link
from .spec import Spec
from .tracked import Tracked, known, real
from .tree import PLAIN, is_cache, rebuild


class CannotMerge(Exception):
    """The chunks' outputs do not follow the batch; says which one, and why."""


class Outline(Skeletons):
    """One chunk's output: its tensors, its plain values, its caches, and the rest."""

    def __init__(self, output: Any):
        super().__init__([])
        self.constants: list[Any] = []
        self.caches: list[Any] = []
        self.skeleton = self.of(output)
        self.specs = [known(tensor) for tensor in self.tensors]

    def _other(self, value: Any) -> Any:
        if is_cache(value):
            self.caches.append(value)
            return _Cache(len(self.caches) - 1)
        if isinstance(value, PLAIN):
            self.constants.append(value)
            return _Constant(len(self.constants) - 1)
        return super()._other(value)

    def route(self, link: Link, everywhere: bool) -> None:
        """Has the tensors on the last rank, or on all."""
        for tensor in self.tensors:
            if not isinstance(tensor, Tracked):
                continue
            if everywhere:
                link.spread(tensor)
            else:
                link.need(tensor, link.size - 1)

    def output(self, tensors: list[Any], constants: list[Any], caches: list[Any]):
        """The output with these values."""

        def other(value):
            if isinstance(value, _Cache):
                return caches[value.number]
            return constants[value.number] if isinstance(value, _Constant) else value

        return fill(rebuild(self.skeleton, _itself, other), tensors, [])


@dataclass(frozen=True, slots=True)
class _Constant:
    """In an outline's skeleton: the plain value of that number."""

    number: int


@dataclass(frozen=True, slots=True)
class _Cache:
    """In an outline's skeleton: the cache of that number."""

    number: int


def _itself(tensor: Any) -> Any:
    return tensor


MEAN, SAME = -1, -2  # ways to merge a tensor, beside the dimension to join along


def is_open(outline: Outline, rows: int) -> bool:
    """Whether shapes leave open which dimensions count samples."""
    return any(
        spec.shape and (rows == 1 or spec.shape[0] != rows or rows in spec.shape[1:])
        for spec in outline.specs
    )


def ways(
    outlines: list[Outline], rows: list[int], beside: tuple[Outline, int] | None
) -> list[int]:
    """How each tensor is merged, decided from specs alone, so alike on every rank.

    `beside` is the output for another number of samples than the first chunk's; what
    differs there counts samples. Without it the first dimension does. Raises
    CannotMerge where the chunks' outputs do not follow the batch.
    """
    first = outlines[0]
    for other in outlines[1:]:
        if _sizes(other) != _sizes(first):
            raise CannotMerge("chunks return different structures")
    for outline, length in zip(outlines, rows, strict=True):
        if length != rows[0]:
            beside = outline, length
    if beside is not None and _sizes(beside[0]) != _sizes(first):
        raise CannotMerge("what is returned depends on the number of samples")
    found = []
    for place, spec in enumerate(first.specs):
        other_spec = None if beside is None else (beside[0].specs[place], beside[1])
        way = _way(spec, rows[0], other_spec)
        for outline, length in zip(outlines, rows, strict=True):
            _check(way, (spec, rows[0]), (outline.specs[place], length))
        found.append(way)
    return found


def _sizes(outline: Outline) -> tuple[int, int, int]:
    return len(outline.tensors), len(outline.constants), len(outline.caches)


def _way(spec: Spec, rows: int, beside: tuple[Spec, int] | None) -> int:
    """The dimension that counts samples, or the way of what counts none."""
    if not spec.shape:
        return MEAN if spec.dtype.is_floating_point else SAME
    if beside is None:
        return 0
    other = beside[0]
    if len(other.shape) != len(spec.shape):
        raise CannotMerge("an output has another number of dimensions in each chunk")
    differing = [
        dim
        for dim, (mine, theirs) in enumerate(zip(spec.shape, other.shape, strict=True))
        if mine != theirs
    ]
    if not differing:
        return SAME
    if len(differing) > 1:
        raise CannotMerge("an output compares the samples of a batch with each other")
    _check(differing[0], (spec, rows), beside)
    return differing[0]


def _check(way: int, first: tuple[Spec, int], other: tuple[Spec, int]) -> None:
    """Raises unless two chunks' tensors differ in their samples alone."""
    mine, theirs = list(first[0].shape), list(other[0].shape)
    if way >= 0 and len(mine) == len(theirs):
        if mine[way] * other[1] != theirs[way] * first[1]:
            theirs = []
        else:
            theirs[way] = mine[way]
    if mine != theirs:
        raise CannotMerge(
            f"chunks of {first[1]} and {other[1]} samples return tensors of shapes "
            f"{tuple(first[0].shape)} and {tuple(other[0].shape)}"
        )


def merge(outlines: list[Outline], rows: list[int], how: list[int]) -> Any:
    """The outputs of all chunks as one; all tensors are here."""
    first = outlines[0]
    if len(outlines) == 1:
        tensors = [real(tensor) for tensor in first.tensors]
        return first.output(tensors, first.constants, first.caches)
    tensors = [
        _merge_tensors([real(each.tensors[place]) for each in outlines], rows, way)
        for place, way in enumerate(how)
    ]
    constants = []
    for same in zip(*(each.constants for each in outlines), strict=True):
        differ = any(value != same[0] for value in same)
        constants.append(list(same) if differ else same[0])
    return first.output(tensors, constants, first.caches)


def _merge_tensors(parts: list[torch.Tensor], rows: list[int], way: int) -> Any:
    if way >= 0:
        return torch.cat(parts, way)
    if way == SAME or all(torch.equal(part, parts[0]) for part in parts):
        return parts[0]
    # A mean over the batch, as a loss is; samples weigh alike.
    weights = torch.tensor(rows, dtype=torch.float64, device=parts[0].device)
    total = torch.stack([part.double() for part in parts]) @ weights
    return (total / weights.sum()).to(parts[0].dtype)
