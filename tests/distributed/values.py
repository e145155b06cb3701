"""Values that ranks exchange in the tests, and what it means that two are the same."""

import math
import re
from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import torch


def _dtypes():
    """Every dtype of this torch under its own name: those that travel, and others."""
    named = {
        str(d).removeprefix("torch."): d
        for d in vars(torch).values()
        if isinstance(d, torch.dtype)
    }
    # Quantised tensors have more than their elements; of the others, torch itself
    # knows no more than how to store them.
    odd = re.compile(r"q?u?int[1-7]$|qu?int|bits")
    return sorted(n for n in named if not odd.match(n)), sorted(
        filter(odd.match, named)
    )


DTYPES, REFUSED = _dtypes()

NUMPY_DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "longdouble", "complex64", "complex128"),
    *("clongdouble", "datetime64[us]", "timedelta64[s]", "S5", "U3", ">i4"),
]

Pair = namedtuple("Pair", "left right")


def _on_the_cpu(leaf):
    return leaf


def to_device(leaf, device):
    """The tensor on the device, moved as bytes: not every dtype has a copy there."""
    if leaf.device == device:
        return leaf
    # A single element may keep a stride that its bytes cannot be viewed with.
    plain = leaf.clone(memory_format=torch.contiguous_format)
    flat = plain.reshape(-1).view(torch.uint8).to(device)
    return flat.view(leaf.dtype).reshape(leaf.shape)


# Puts a tensor of the CPU where this run's tensors stand; tests/gpu sets another
# function in each of its ranks.
place = _on_the_cpu


def tensor(dtype, shape, seed):
    """A tensor of random bits, which includes NaNs of every kind, from a seed."""
    dtype = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(seed)
    # The bits are the same wherever they stand, so they are always drawn on the CPU.
    how = {"generator": generator, "dtype": torch.uint8, "device": "cpu"}
    if dtype == torch.bool:
        return place(torch.randint(0, 2, shape, **how).bool())
    count = math.prod(shape) * dtype.itemsize
    data = torch.randint(0, 256, (count,), **how)
    return place(data.view(dtype).reshape(shape))


def array(dtype, shape, seed):
    """An array of small numbers in any dtype, from a seed."""
    numbers = np.random.default_rng(seed).integers(0, 2, shape)
    return numbers.astype(dtype)


def bits(value):
    """The bytes of a tensor or an array, whatever its dtype, layout or lazy flags."""
    if isinstance(value, np.ndarray):
        if value.dtype.char in "gG":
            # A long double has bytes without meaning, which a copy may leave out.
            return value.astype("complex128").tobytes()
        return value.tobytes()
    plain = value.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    # A single element may keep a stride that its bytes cannot be viewed with.
    flat = plain.clone(memory_format=torch.contiguous_format).reshape(-1)
    return flat.view(torch.uint8).cpu().numpy().tobytes() if flat.numel() else b""


def difference(got, expected, where="result"):
    """What differs between two trees of leaves, in words; empty if nothing does."""
    if type(got) is not type(expected):
        return f"{where} is a {type(got).__name__}, not a {type(expected).__name__}"
    if isinstance(expected, (torch.Tensor, np.ndarray)):
        return _leaf_difference(got, expected, where)
    if isinstance(expected, (list, tuple)):
        pairs = list(zip(range(len(expected)), got, expected, strict=False))
        if len(got) != len(expected):
            return f"{where} has {len(got)} items, not {len(expected)}"
    elif isinstance(expected, (dict, UserDict)):
        if list(got) != list(expected):
            return f"{where} has the keys {list(got)}, not {list(expected)}"
        pairs = [(key, got[key], expected[key]) for key in expected]
    else:
        return "" if got == expected else f"{where} is {got!r}, not {expected!r}"
    found = (difference(g, e, f"{where}[{key!r}]") for key, g, e in pairs)
    return next(filter(None, found), "")


def _leaf_difference(got, expected, where):
    for what in ("dtype", "shape", "device"):
        # Arrays have devices of their own, from NumPy 2 on.
        ours, theirs = getattr(got, what, None), getattr(expected, what, None)
        if ours != theirs:
            return f"{where} has {what} {ours}, not {theirs}"
    return "" if bits(got) == bits(expected) else f"{where} has other bytes"


def check_same(got, expected):
    """Raise AssertionError if two trees differ in structure, dtype, shape or a bit."""
    found = difference(got, expected)
    assert not found, found


def same_numbers(got, expected):
    """Raise AssertionError if two tensors differ in dtype, shape or a number; what kind
    of NaN something is does not count."""
    for what in ("dtype", "shape", "device"):
        assert getattr(got, what) == getattr(expected, what)
    if got.dtype.is_complex:
        got, expected = torch.view_as_real(got), torch.view_as_real(expected)
    if got.is_floating_point():
        got, expected = got.double(), expected.double()
        unlike = ~((got == expected) | (got.isnan() & expected.isnan()))
        assert not unlike.any(), f"{got[unlike]} is not {expected[unlike]}"
    else:
        check_same(got, expected)


def joined(parts):
    """What `gather` should make of one leaf a rank, by torch or NumPy."""
    parts = [part[None] if part.ndim == 0 else part for part in parts]
    if isinstance(parts[0], np.ndarray):
        # NumPy would turn a foreign byte order into the machine's own.
        return np.concatenate(parts).astype(parts[0].dtype)
    # Joined as bytes: torch.cat does not know every dtype.
    parts = [p.detach().as_subclass(torch.Tensor) for p in parts]
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    data = b"".join(bits(part) for part in parts)
    home = parts[0].device
    if not data:
        return torch.empty(shape, dtype=parts[0].dtype, device=home)
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(home)
    return flat.view(parts[0].dtype).reshape(shape)


def containers(leaf):
    """Every kind of container around leaves that `leaf(i)` makes, by name."""
    from transformers.modeling_outputs import BaseModelOutput

    return {
        "list": [leaf(0), leaf(1)],
        "tuple": (leaf(0), leaf(1)),
        "namedtuple": Pair(leaf(0), leaf(1)),
        "dict": {"a": leaf(0), "b": leaf(1)},
        "OrderedDict": OrderedDict(b=leaf(0), a=leaf(1)),
        "UserDict": UserDict(a=leaf(0)),
        "ModelOutput": BaseModelOutput(last_hidden_state=leaf(0)),
        "nested": {"x": [leaf(0), (leaf(1), {"y": leaf(2)})], 3: Pair(leaf(3), [])},
        "empty list": [],
        "empty dict": {},
    }


def views(seed):
    """Tensors whose memory does not simply hold their values in order, by name."""
    base = tensor("float32", (6, 4), seed)
    images = tensor("float32", (2, 3, 4, 5), seed)
    numbers = torch.arange(6, dtype=torch.float32).reshape(2, 3) + seed
    pairs = torch.complex(numbers, -numbers)
    return {
        "transposed": base.t(),
        "every second row": base[::2],
        "every second column": base[:, 1::2],
        "with an offset": base[2:],
        "expanded": base[:1].expand(5, 4),
        "channels_last": images.to(memory_format=torch.channels_last),
        "requires_grad": torch.ones(3, 2).mul_(seed).requires_grad_(),
        "not a leaf": torch.ones(3, 2).requires_grad_() * seed,
        "Parameter": torch.nn.Parameter(torch.ones(3, 2) * seed),
        "conjugate": pairs.conj(),
        "conjugate of one": pairs[:1, :1].conj(),
        "negative": pairs.conj().imag,
        "negative and contiguous": torch._neg_view(numbers),
        "negative of one": pairs[:1, :1].conj().imag,
        "transposed conjugate": pairs.conj().t(),
        "in shared memory": torch.ones(4).mul_(seed).share_memory_(),
        "from NumPy": torch.from_numpy(np.arange(4.0) * seed),
    }
