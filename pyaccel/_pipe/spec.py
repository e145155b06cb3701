"""What is known of a tensor without its bytes: shape, strides, dtype."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch


class Spec(NamedTuple):
    """A tensor's shape, strides and dtype; the device is always the rank's own."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """The bytes that the elements take when they are dense."""
        return prod(self.shape) * self.dtype.itemsize

    def like(self, shape: tuple[int, ...]) -> Spec:
        """A dense tensor of another shape, its dimensions in the same order."""
        return Spec(shape, dense_strides(shape, self.stride), self.dtype)

    def empty(self, device: torch.device | str) -> torch.Tensor:
        """A tensor of these strides that nobody has written."""
        return torch.empty_strided(
            self.shape, self.stride, dtype=self.dtype, device=device
        )


def spec_of(tensor: torch.Tensor) -> Spec:
    """The spec of a tensor that is really here."""
    return Spec(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)


def dense_strides(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    """Strides without gaps that keep the order which the dimensions have in `stride`.

    A dimension that was expanded has no place in an order: then as contiguous.
    """
    if 0 in stride:
        order = list(range(len(shape)))
    else:
        order = sorted(range(len(shape)), key=lambda i: (-stride[i], i))
    dense = [0] * len(shape)
    step = 1
    for dim in reversed(order):
        dense[dim] = step
        step *= max(shape[dim], 1)
    return tuple(dense)


def is_contiguous(spec: Spec) -> bool:
    """Whether elements stand one after the other in the order of their indices."""
    step = 1
    for length, stride in zip(reversed(spec.shape), reversed(spec.stride), strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return True
