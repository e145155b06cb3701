"""Prepares a model: finds its units, places them, and makes its calls collective."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from .. import _group
from ..state import PartialState
from .channel import Channels
from .chunks import CannotCut, Cut
from .discovery import find_units, in_running_order
from .install import install
from .link import Link
from .placement import begins_of, cut_evenly, stages_of
from .prepared import Prepared
from .probe import Seen, probe

_numbers = itertools.count(1)
_links: list[Link] = []  # of the group that this process is in


def current_link() -> Link:
    """The link of this process' group; made by all ranks together at its first use."""
    comm = _group.comm
    if comm is None:
        raise RuntimeError("there is no group: make a PartialState first")
    if not _links or _links[0].channels.comm is not comm:
        _links[:] = [Link(Channels(comm), PartialState().device)]
    return _links[0]


def prepare(
    model: nn.Module,
    split_points: str | Sequence[str],
    no_split: Collection[str],
    example: tuple[tuple[Any, ...], dict[str, Any]],
    num_chunks: int,
    gather_output: bool,
    *,
    chunk_spec: Mapping[str, Any] | None,
    placement: str,
) -> Prepared:
    """Places a model over the ranks of the group, all of which call this."""
    link = current_link()
    modules = find_units(model, no_split)
    if not modules:
        raise ValueError(
            f"{type(model).__name__} has no parameters, so there is nothing to place: "
            "call it as it is"
        )
    plan = None
    if link.rank == 0:
        plan = _plan(
            model,
            modules,
            split_points,
            example,
            num_chunks,
            chunk_spec,
            placement,
            link.size,
        )
    link.begin()
    seen, order, begins = link.tell(0, plan)
    stages = stages_of(begins, len(order))
    owners = {
        name: stage % link.size for name, stage in zip(order, stages, strict=True)
    }
    name = f"{type(model).__name__} {next(_numbers)}"
    label = f"{name}: "
    units = install(
        link,
        model,
        {name: modules[name] for name in order},
        owners,
        seen.outside,
        label,
    )
    prepared = Prepared(name, model, link, units, num_chunks, gather_output, chunk_spec)
    prepared.seen = seen
    prepared.begins = [order[index] for index in begins]
    return prepared


def _plan(
    model, modules, split_points, example, num_chunks, chunk_spec, placement, size
):
    """What the main process decides for all: what it saw, the order, the stages."""
    seen = _dry_run(model, modules, example, num_chunks, chunk_spec)
    left = [name for name in in_running_order(list(modules)) if name not in seen.order]
    order = [*seen.order, *left]
    if split_points != "auto":
        known = {name for name, _ in model.named_modules()}
        begins = begins_of(order, list(split_points), known)
    else:
        begins = cut_evenly([_cost(n, modules, seen, placement) for n in order], size)
    return seen, order, begins


def _dry_run(model, modules, example, num_chunks, chunk_spec) -> Seen:
    args, kwargs = example
    if not args and not kwargs:
        return Seen(note="no example inputs were given")
    if any(parameter.is_meta for parameter in model.parameters()):
        return Seen(note="the model is on the meta device")
    try:
        cut = Cut(
            args,
            kwargs,
            chunk_spec,
            model.forward,
            getattr(model, "main_input_name", None),
        )
        args, kwargs = cut.into(num_chunks)[0][0]
    except (CannotCut, ValueError):
        pass
    return probe(model, modules, lambda: model(*args, **kwargs))


def _cost(name, modules, seen: Seen, placement: str) -> float:
    if placement == "time":
        return seen.seconds.get(name, 0.0)
    return float(sum(p.numel() * p.element_size() for p in modules[name].parameters()))
