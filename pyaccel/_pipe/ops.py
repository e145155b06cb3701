"""What kinds of operations torch has, for those that meet a placeholder."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple
from zlib import crc32

import torch

aten = torch.ops.aten

# The result is made from the shape alone: it is plain, and made on every rank.
_OF_SHAPE = (
    "zeros_like",
    "ones_like",
    "empty_like",
    "full_like",
    "new_zeros",
    "new_ones",
    "new_empty",
    "new_full",
    "new_empty_strided",
    "rand_like",
    "randn_like",
    "randint_like",
)
# The value decides what comes next, or about a shape; torch's tags name most of these.
_OF_VALUE = (
    "_local_scalar_dense",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
    "is_nonzero",
    "bincount",
    "repeat_interleave",
    "allclose",
)
_VALUE_TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
# Their results decide in loops that make one token after another.
_DECIDING = ("argmax", "argmin", "multinomial", "topk", "max", "min", "any", "all")
# They take memory as their argument's strides say, which on ranks may be others.
_BY_STRIDES = ("as_strided", "as_strided_", "view")
_INDEXING = ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_")


def _packets(names: tuple[str, ...]) -> set[object]:
    return {getattr(aten, name) for name in names if hasattr(aten, name)}


_SHAPE = _packets(_OF_SHAPE)
_VALUE = _packets(_OF_VALUE)
_DECIDE = _packets(_DECIDING)
_INDEX = _packets(_INDEXING)
_STRIDES = _packets(_BY_STRIDES)


_MASKS = (torch.bool, torch.uint8)


def is_mask(index: object) -> bool:
    """Whether an index selects by its values."""
    return isinstance(index, torch.Tensor) and index.dtype in _MASKS


class Op(NamedTuple):
    """What is to be known of an operation before its arguments are looked at."""

    name: str
    code: int  # of the name, the same in every process
    of_shape: bool
    of_value: bool
    deciding: bool
    indexing: bool
    by_strides: bool
    draws: bool  # it takes random numbers
    views: bool  # its result may share memory with an argument
    writes: tuple[tuple[int, str], ...]  # arguments that it changes: place and name


@cache
def classify(func: torch._ops.OpOverload) -> Op:
    """An overload's kind; kept, as it never changes."""
    packet = func.overloadpacket
    schema = func._schema
    return Op(
        name=str(func),
        code=crc32(str(func).encode()),
        of_shape=packet in _SHAPE,
        # Indices decide about a shape by their values where they are masks alone.
        of_value=packet in _VALUE
        or (packet not in _INDEX and any(tag in func.tags for tag in _VALUE_TAGS)),
        deciding=packet in _DECIDE,
        indexing=packet in _INDEX,
        by_strides=packet in _STRIDES,
        draws=torch.Tag.nondeterministic_seeded in func.tags,
        views=any(
            each.alias_info is not None and not each.alias_info.is_write
            for each in schema.returns
        ),
        writes=tuple(
            (place, argument.name)
            for place, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ),
    )
