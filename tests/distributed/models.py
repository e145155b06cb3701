"""What operations should make of leaves, by torch and NumPy in one process."""

import numpy as np
import torch

from tests.distributed import values


def is_exact(dtype):
    return not (dtype.is_floating_point or dtype.is_complex)


def refused(dtype, reduction):
    """Whether a reduction means nothing for a dtype."""
    ordered = reduction in ("max", "min")
    return (is_exact(dtype) and reduction == "mean") or (dtype.is_complex and ordered)


def reduced(parts, reduction, scale=1.0):
    """What `reduce` should make of one tensor a rank, by torch or NumPy, in order."""
    # A GPU divides by a number in another way than a CPU does.
    result = _reduced([part.cpu() for part in parts], reduction, scale)
    return values.to_device(result, parts[0].device)


def _reduced(parts, reduction, scale):
    dtype = parts[0].dtype
    if dtype.is_complex:
        whole = _reduced([torch.view_as_real(p) for p in parts], reduction, scale)
        return torch.view_as_complex(whole)
    if is_exact(dtype):
        # NumPy knows all integers, torch not all unsigned ones.
        steps = {"sum": np.add, "max": np.maximum, "min": np.minimum}
        numbers = [part.numpy() for part in parts]
        result = numbers[0].copy()
        for other in numbers[1:]:
            result = steps[reduction](result, other)
        return torch.from_numpy(np.asarray(result))
    wide = [part.float() if dtype.itemsize < 4 else part for part in parts]
    steps = {"max": torch.maximum, "min": torch.minimum}
    result = wide[0].clone()
    for other in wide[1:]:
        result = steps.get(reduction, torch.add)(result, other)
    if reduction == "mean":
        result /= len(parts)
    return (result * scale).to(dtype)


def in_bits(leaf):
    """A tensor as its bytes, one row of them an element: torch.cat knows those."""
    plain = leaf.detach().clone(memory_format=torch.contiguous_format)
    flat = plain.reshape(-1).view(torch.uint8)
    return flat.reshape(*leaf.shape, leaf.dtype.itemsize)


def padded(leaf, dim, length, value=0, first=False):
    """What a leaf should become, by torch or NumPy, element for element."""
    if not -leaf.ndim <= dim < leaf.ndim or leaf.shape[dim] == length:
        return leaf
    shape = list(leaf.shape)
    shape[dim] = length - shape[dim]
    if isinstance(leaf, np.ndarray):
        more = np.full(shape, value, leaf.dtype)
        parts = [more, leaf] if first else [leaf, more]
        return np.concatenate(parts, dim).astype(leaf.dtype)
    number = torch.tensor(value, dtype=leaf.dtype, device=leaf.device)
    more = in_bits(number.expand(shape))
    parts = [more, in_bits(leaf)] if first else [in_bits(leaf), more]
    bits = torch.cat(parts, dim % leaf.ndim)
    return bits.reshape(-1).view(leaf.dtype).reshape(bits.shape[:-1])
