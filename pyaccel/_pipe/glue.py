"""Operations between units: who runs one follows from who holds its arguments.

Whatever is decided here is decided from specs and holders alone, which all ranks know,
so that every rank decides it alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .ops import Op, classify
from .spec import Spec, spec_of
from .tracked import Tracked, join_family, known, last_of, real, written
from .tree import describe, rebuild

if TYPE_CHECKING:
    from .link import Link

DECIDING_BYTES = 4096  # of a result that is sent to all at once, if it is to decide
_MASKS = (torch.bool, torch.uint8)


class Results:
    """What an operation returns, by specs: as torch does on tensors without memory."""

    __slots__ = ("items", "kind")

    def __init__(self, returned: Any):
        several = isinstance(returned, (tuple, list))
        self.kind = (list if isinstance(returned, list) else tuple) if several else None
        items = returned if several else [returned]
        self.items = [
            spec_of(item) if isinstance(item, torch.Tensor) else item for item in items
        ]


def run(link: Link, func, args, kwargs):
    """Runs an operation where its arguments are, or takes them to where it is run."""
    op = classify(func)
    tracked = [t for t in describe((args, kwargs)).tensors if isinstance(t, Tracked)]
    link.step(op.code, op.name)
    link.counts["glue"] += 1
    for each in tracked:
        link.check_present(each)
    if op.of_shape:
        return func(*rebuild(args, _blank), **rebuild(kwargs, _blank))
    by_mask = False
    if op.indexing:
        args, by_mask = _without_masks(args)
    changed = [_argument(place, name, args, kwargs) for place, name in op.writes]
    changed = [each for each in changed if isinstance(each, torch.Tensor)]
    plain_changed = any(not isinstance(each, Tracked) for each in changed)
    if op.of_value or by_mask or plain_changed:
        return _everywhere(link, func, args, kwargs, tracked, changed)
    holders = _place(link, tracked, changed)
    if op.draws:
        holders = 1 << last_of(holders)
    if changed:
        return _change(link, op, func, args, kwargs, changed, holders)
    if holders == link.everyone:
        return func(*rebuild(args, real), **rebuild(kwargs, real))
    results = _results(link, func, args, kwargs)
    if results is None:
        return _everywhere(link, func, args, kwargs, tracked, changed)
    return _make(link, op, func, args, kwargs, results, holders)


def _blank(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of a placeholder's spec, for operations that look at nothing else."""
    return tensor.spec.empty(tensor.device) if isinstance(tensor, Tracked) else tensor


def _argument(place: int, name: str, args, kwargs) -> Any:
    return args[place] if place < len(args) else kwargs.get(name)


def _without_masks(args):
    """Plain masks among indices as positions; whether placeholders of masks remain."""
    indices = args[1]
    if any(isinstance(i, Tracked) and i.dtype in _MASKS for i in indices):
        return args, True
    if not any(isinstance(i, torch.Tensor) and i.dtype in _MASKS for i in indices):
        return args, False
    positions: list[Any] = []
    for index in indices:
        if isinstance(index, torch.Tensor) and index.dtype in _MASKS:
            positions += index.nonzero(as_tuple=True)
        else:
            positions.append(index)
    return (args[0], positions, *args[2:]), False


def _place(link: Link, tracked: list[Tracked], changed: list[torch.Tensor]) -> int:
    """The ranks that run the operation; moves to them what they have not got."""
    holders = link.everyone
    for each in changed or tracked:
        holders &= each.holders  # type: ignore[attr-defined]
    if not holders:
        # On the latest rank that holds any of it: that is where the data flows to.
        holders = 1 << max(last_of(each.holders) for each in tracked)
    for each in tracked:
        for rank in range(link.size):
            if holders >> rank & 1:
                link.need(each, rank)
    return holders


def _everywhere(link: Link, func, args, kwargs, tracked, changed):
    """Runs the operation on all ranks, with everything that it takes."""
    # All first, then waits: what is asked for is on its way together.
    for each in tracked:
        link.spread(each)
    returned = func(*rebuild(args, real), **rebuild(kwargs, real))
    for each in changed:
        if isinstance(returned, torch.Tensor) and real(each) is returned:
            return each
    return returned


def _change(link: Link, op: Op, func, args, kwargs, changed, holders: int):
    """Runs an operation that changes placeholders, on some of their holders."""
    if holders >> link.rank & 1:
        func(*rebuild(args, real), **rebuild(kwargs, real))
    elif op.draws:
        _draw_as_others(func, args, kwargs)
    for each in changed:
        each.holders = holders
        if not holders >> link.rank & 1:
            each.value = None
        written(each)
    return changed[0] if len(changed) == 1 else tuple(changed)


def _results(link: Link, func, args, kwargs) -> Results | None:
    """The specs of what an operation returns; None if torch cannot tell."""
    call = describe((args, kwargs))
    specs = tuple(known(tensor) for tensor in call.tensors)
    numbers = (tuple(call.numbers), tuple(call.reals))
    key = (func, tuple(call.key), numbers, specs)
    if key not in link.specs:
        link.specs[key] = _run_on_meta(func, args, kwargs)
    return link.specs[key]


def _run_on_meta(func, args, kwargs) -> Results | None:
    def bare(tensor):
        return known(tensor).empty("meta")

    def other(value):
        if isinstance(value, torch.device):
            return torch.device("meta")
        return None if isinstance(value, torch.Generator) else value

    try:
        returned = func(*rebuild(args, bare, other), **rebuild(kwargs, bare, other))
    except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError):
        # No such kernel, or arguments that torch refuses: the operation itself says.
        return None
    return Results(returned)


def _make(link: Link, op: Op, func, args, kwargs, results: Results, holders: int):
    """The results: tensors on holders, placeholders of them everywhere."""
    made: list[Any] = [None] * len(results.items)
    if holders >> link.rank & 1:
        returned = func(*rebuild(args, real), **rebuild(kwargs, real))
        made = list(returned) if results.kind else [returned]
    elif op.draws:
        _draw_as_others(func, args, kwargs)
    tracked: list[Any] = []
    for item, value in zip(results.items, made, strict=True):
        if not isinstance(item, Spec):
            tracked.append(item)
            continue
        one = Tracked(link, item, holders, value)
        if op.views and isinstance(args[0], Tracked):
            join_family(one, args[0])
        if link.deciding and op.deciding and item.nbytes <= DECIDING_BYTES:
            tracked.append(link.replicate(one))
        else:
            tracked.append(one)
    return results.kind(tracked) if results.kind else tracked[0]


def _draw_as_others(func, args, kwargs) -> None:
    """Takes as many random numbers as a holder does, to keep generators in step."""

    def stand_in(tensor):
        if not isinstance(tensor, Tracked):
            return tensor
        half = 0.5 if tensor.dtype.is_floating_point else 1
        return torch.full(
            tensor.spec.shape, half, dtype=tensor.dtype, device=tensor.device
        )

    func(*rebuild(args, stand_in), **rebuild(kwargs, stand_in))
