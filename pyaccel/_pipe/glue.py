"""Operations between units: who runs one follows from who holds its arguments.

Whatever is decided here is decided from specs and holders alone, which all ranks know,
so that every rank decides it alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .ops import Op, classify, is_mask
from .spec import Spec, is_contiguous, spec_of
from .tracked import Tracked, join_family, known, last_of, real, written
from .tree import describe, rebuild

if TYPE_CHECKING:
    from .link import Link

DECIDING_BYTES = 4096  # of a result that is sent to all at once, if it is to decide


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
    return _Operation(link, func, args, kwargs).run()


class _Operation:
    """One operation, between two units, that has placeholders among its arguments."""

    def __init__(self, link: Link, func, args, kwargs):
        self.link = link
        self.op: Op = classify(func)
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.tracked = [
            each
            for each in describe((args, kwargs)).tensors
            if isinstance(each, Tracked)
        ]

    def run(self):
        """The result, on every rank: plain, or a placeholder."""
        link, op = self.link, self.op
        link.step(op.code, op.name)
        link.counts["glue"] += 1
        for each in self.tracked:
            link.check_present(each)
        if op.of_shape:
            return self._with(_blank)
        by_mask = op.indexing and self._by_mask()
        changed = self._changed()
        plain_changed = any(not isinstance(each, Tracked) for each in changed)
        if op.of_value or by_mask or plain_changed:
            return self._everywhere(changed)
        holders = self._place(changed)
        if op.draws:
            holders = 1 << last_of(holders)
        if changed:
            return self._change(changed, holders)
        if holders == link.everyone:
            return self._here()
        results = self._results()
        if results is None:
            return self._everywhere(changed)
        return self._make(results, holders)

    # ---- Where it runs ----

    def _changed(self) -> list[torch.Tensor]:
        """The arguments that the operation writes into."""
        args, kwargs = self.args, self.kwargs
        found = [
            args[place] if place < len(args) else kwargs.get(name)
            for place, name in self.op.writes
        ]
        return [each for each in found if isinstance(each, torch.Tensor)]

    def _by_mask(self) -> bool:
        """Whether placeholders of masks index; plain masks become positions."""
        indices = self.args[1]
        masks = [each for each in indices if is_mask(each)]
        if any(isinstance(each, Tracked) for each in masks):
            return True
        if masks:
            positions: list[Any] = []
            for index in indices:
                if any(index is each for each in masks):
                    positions += index.nonzero(as_tuple=True)
                else:
                    positions.append(index)
            self.args = (self.args[0], positions, *self.args[2:])
        return False

    def _place(self, changed: list[torch.Tensor]) -> int:
        """The ranks that run the operation; moves to them what they have not got."""
        link = self.link
        holders = link.everyone
        for each in changed or self.tracked:
            holders &= each.holders
        if not holders:
            # The latest rank that holds any of it: that is where the data flows to.
            holders = 1 << max(last_of(each.holders) for each in self.tracked)
        for each in self.tracked:
            for rank in range(link.size):
                if holders >> rank & 1:
                    link.need(each, rank)
        return holders

    # ---- Ways to run it ----

    def _with(self, tensor, other=None):
        """The operation on arguments in which tensors are replaced."""
        args = rebuild(self.args, tensor, other)
        return self.func(*args, **rebuild(self.kwargs, tensor, other))

    def _here(self):
        """The operation itself."""
        return self._with(_as_known if self.op.by_strides else real)

    def _everywhere(self, changed: list[torch.Tensor]):
        """Runs the operation on all ranks, with everything that it takes."""
        self.link.wait_for(self.tracked)
        returned = self._with(real)
        for each in changed:
            if isinstance(returned, torch.Tensor) and real(each) is returned:
                return each
        return returned

    def _change(self, changed: list[Any], holders: int):
        """Runs an operation that changes placeholders, on some of their holders."""
        here = holders >> self.link.rank & 1
        if here:
            self._with(real)
        elif self.op.draws:
            self._draw_as_others()
        for each in changed:
            each.holders = holders
            if not here:
                each.value = None
            written(each)
        return changed[0] if len(changed) == 1 else tuple(changed)

    def _make(self, results: Results, holders: int):
        """The results: tensors on holders, placeholders of them everywhere."""
        link = self.link
        made: list[Any] = [None] * len(results.items)
        if holders >> link.rank & 1:
            returned = self._here()
            made = list(returned) if results.kind else [returned]
        elif self.op.draws:
            self._draw_as_others()
        items: list[Any] = []
        for item, value in zip(results.items, made, strict=True):
            if not isinstance(item, Spec):
                items.append(item)
                continue
            one = Tracked(link, item, holders, value)
            if self.op.views and isinstance(self.args[0], Tracked):
                join_family(one, self.args[0])
            decides = self.op.deciding and item.nbytes <= DECIDING_BYTES
            items.append(link.replicate(one) if link.deciding and decides else one)
        return results.kind(items) if results.kind else items[0]

    # ---- What it returns ----

    def _results(self) -> Results | None:
        """The specs of what the operation returns; None if torch cannot tell."""
        call = describe((self.args, self.kwargs))
        specs = tuple(known(tensor) for tensor in call.tensors)
        numbers = (tuple(call.numbers), tuple(call.reals))
        key = (self.func, tuple(call.key), numbers, specs)
        found = self.link.specs
        if key not in found:
            found[key] = self._run_on_meta()
        return found[key]

    def _run_on_meta(self) -> Results | None:
        try:
            return Results(self._with(_bare, _on_meta))
        except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError):
            # No such kernel, or arguments that torch refuses: running it tells.
            return None

    def _draw_as_others(self) -> None:
        """Takes as many random numbers as a holder does, to keep generators in step."""

        def stand_in(tensor):
            if not isinstance(tensor, Tracked):
                return tensor
            half = 0.5 if tensor.dtype.is_floating_point else 1
            return torch.full(
                tensor.spec.shape, half, dtype=tensor.dtype, device=tensor.device
            )

        self._with(stand_in)


def _blank(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of a placeholder's spec, for operations that look at nothing else."""
    return tensor.spec.empty(tensor.device) if isinstance(tensor, Tracked) else tensor


def _as_known(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, with the strides that all ranks know of."""
    value = real(tensor)
    if not isinstance(tensor, Tracked) or value.stride() == tensor.spec.stride:
        return value
    if is_contiguous(tensor.spec) and value.is_contiguous():
        return value
    return tensor.spec.empty(value.device).copy_(value)


def _bare(tensor: torch.Tensor) -> torch.Tensor:
    return known(tensor).empty("meta")


def _on_meta(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("meta")
    return None if isinstance(value, torch.Generator) else value
