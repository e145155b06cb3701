"""A call's inputs cut into chunks along the batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from .kept import Kept
from .tree import MAPPINGS, rebuild, tensors_of

# Inputs that hold a whole batch although their first dimension may not count samples.
_PACKED = (
    "pixel_values",
    "pixel_values_videos",
    "image_grid_thw",
    "video_grid_thw",
    "image_sizes",
    "input_features",
)


class CannotCut(Exception):
    """A call's inputs go through as one chunk; says why."""


class Chunk(NamedTuple):
    """A part of a call's inputs."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Cut:
    """How the inputs of a call are cut: whose first dimension counts the samples."""

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        spec: Mapping[str, Any] | None,
        called: Callable[..., Any],
        main: str | None,
    ):
        self._args = args
        self._kwargs = kwargs
        names = _names_of(called, args)
        self._inputs = [*zip(names, args, strict=True), *kwargs.items()]
        self._spec = dict(spec or {})
        self.batch = self._find_batch(main)
        # A cache of an earlier call has that call's chunks, and no others.
        self.is_bound = any(isinstance(value, Kept) for _, value in self._inputs)

    def into(self, count: int) -> tuple[list[Chunk], list[int]]:
        """The chunks and how many samples each has; never more than samples."""
        count = min(count, count if self.batch is None else max(self.batch, 1))
        if count == 1:
            rows = [self.batch or 1]
            return [self._part(0, 0, rows, whole=True)], rows
        if self.batch is None:
            raise ValueError(
                "Could not find batch size from args or kwargs: no input has a first "
                "dimension; pass num_chunks=1, or chunk_spec={'name': dim} to say "
                "which dimension of which input counts the samples"
            )
        self._check_packed()
        rows = [len(part) for part in torch.arange(self.batch).tensor_split(count)]
        starts = [sum(rows[:place]) for place in range(count)]
        parts = [self._part(place, starts[place], rows) for place in range(count)]
        return parts, rows

    def first(self, count: int) -> Chunk:
        """The first samples of the batch."""
        return self._part(0, 0, [count])

    def _find_batch(self, main: str | None) -> int | None:
        named = dict(self._inputs)
        for name, dim in self._spec.items():
            if dim is not None and name in named:
                return _first_tensor(named[name], name).shape[dim]
        value = named.get(main or "")
        if isinstance(value, torch.Tensor) and value.dim():
            return value.shape[0]
        values = [value for name, value in self._inputs if name not in self._spec]
        for tensor in tensors_of(values):
            if tensor.dim():
                return tensor.shape[0]
        lists = [value for value in values if isinstance(value, list)]
        return len(lists[0]) if lists else None

    def _check_packed(self) -> None:
        for name, value in self._inputs:
            if name in self._spec or name not in _PACKED:
                continue
            for tensor in tensors_of(value):
                if tensor.dim() and tensor.shape[0] not in (1, self.batch):
                    raise CannotCut(
                        f"{name} has {tensor.shape[0]} rows for {self.batch} samples; "
                        "chunk_spec={...} says how to cut it"
                    )

    def _part(
        self, place: int, start: int, rows: list[int], whole: bool = False
    ) -> Chunk:
        parts = []
        for name, value in self._inputs:
            if isinstance(value, Kept):
                parts.append(value.chunk(place, rows))
            else:
                parts.append(
                    value if whole else self._cut(name, value, start, rows[place])
                )
        given = len(self._args)
        return Chunk(
            tuple(parts[:given]), dict(zip(self._kwargs, parts[given:], strict=True))
        )

    def _cut(self, name: str, value: Any, start: int, length: int) -> Any:
        if name not in self._spec:
            return _cut_rows(value, self.batch, start, length)
        dim = self._spec[name]
        if dim is None:
            return value
        return rebuild(value, lambda tensor: tensor.narrow(dim, start, length))


def _cut_rows(value: Any, batch: int | None, start: int, length: int) -> Any:
    if isinstance(value, torch.Tensor):
        whole = value.dim() == 0 or value.shape[0] != batch
        return value if whole else value.narrow(0, start, length)
    if isinstance(value, list) and len(value) == batch and _is_per_sample(value):
        return value[start : start + length]
    if isinstance(value, (tuple, list, *MAPPINGS)):
        return rebuild(value, lambda tensor: _cut_rows(tensor, batch, start, length))
    return value


def _is_per_sample(items: list[Any]) -> bool:
    """Whether a list as long as the batch has an item a sample, and not one a layer."""
    tensors = tensors_of(items)
    return not any(tensor.dim() and len(tensor) == len(items) for tensor in tensors)


def _first_tensor(value: Any, name: str) -> torch.Tensor:
    found = tensors_of(value)
    if not found:
        raise ValueError(
            f"chunk_spec names {name}, which is no tensor in this call: leave it out"
        )
    return found[0]


def _names_of(called: Callable[..., Any], args: tuple[Any, ...]) -> list[str]:
    """The names of positional arguments."""
    parameters = inspect.signature(called).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL][: len(args)]
    return names + [f"argument {place}" for place in range(len(names), len(args))]
