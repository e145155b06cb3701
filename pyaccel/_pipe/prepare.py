"""Prepares a model: finds its units, places them, and makes its calls collective."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
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

PLACEMENTS = ("bytes", "time")

_numbers = itertools.count(1)
_links: list[Link] = []  # of the group that this process is in


@dataclass
class Options:
    """What a model is prepared with, as `prepare_pippy` says."""

    split_points: str | Sequence[str]
    no_split: Collection[str]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    num_chunks: int
    gather_output: bool
    placement: str
    chunk_spec: Mapping[str, int | None] | None


@dataclass
class Plan:
    """What the main process decides for all."""

    seen: Seen
    order: list[str]  # of units, as they run
    costs: list[float]
    begins: list[int] = field(default_factory=list)  # of each stage but the first


def current_link() -> Link:
    """The link of this process' group."""
    comm = _group.comm
    if comm is None:
        raise RuntimeError("there is no group of processes: make a PartialState first")
    if not _links or _links[0].channels.comm is not comm:
        _links[:] = [Link(Channels(comm), PartialState().device)]
    return _links[0]


def prepare(model: nn.Module, options: Options) -> Prepared:
    """Places a model over the ranks of the group, all of which call this."""
    link = current_link()
    modules = find_units(model, options.no_split)
    if not modules:
        raise ValueError(
            f"{type(model).__name__} has no parts with parameters, so there is nothing "
            "to place: call it as it is"
        )
    plan = agree(link, model, modules, options)
    stages = stages_of(plan.begins, len(plan.order))
    owners = dict(zip(plan.order, (stage % link.size for stage in stages), strict=True))
    name = f"{type(model).__name__} {next(_numbers)}"
    modules = {each: modules[each] for each in plan.order}
    units = install(link, model, modules, owners, plan.seen.outside, name)
    return Prepared(name, model, link, units, plan, options)


def agree(link: Link, model: nn.Module, modules, options: Options) -> Plan:
    """The main process' plan on every rank, or its error."""
    link.begin()
    plan: Plan | Exception | None = None
    if link.rank == 0:
        try:
            plan = make_plan(model, modules, options, link.size)
        except ValueError as error:
            plan = error
    told = link.tell(0, plan)
    if isinstance(told, Exception):
        raise told
    return told


def make_plan(model: nn.Module, modules, options: Options, size: int) -> Plan:
    """What was seen of the model, the order of its units, and where stages begin."""
    seen = _dry_run(model, modules, options)
    left = [name for name in in_running_order(list(modules)) if name not in seen.order]
    order = [*seen.order, *left]
    costs = [_cost(modules[name], name, seen, options.placement) for name in order]
    plan = Plan(seen, order, costs)
    if isinstance(options.split_points, str):
        if len(order) < size:
            raise ValueError(
                f"{type(model).__name__} has {len(order)} parts that can be placed, "
                f"and there are {size} processes: start at most {len(order)}"
            )
        plan.begins = cut_evenly(costs, size)
    else:
        known = {name for name, _ in model.named_modules()}
        plan.begins = begins_of(order, options.split_points, known)
    return plan


def stages_by_bytes(
    model: nn.Module, size: int, no_split: Collection[str]
) -> tuple[dict[str, int], dict[int, float]]:
    """The stage of each unit, as they are defined, and the bytes of each stage."""
    modules = find_units(model, no_split)
    order = in_running_order(list(modules))
    costs = [_cost(modules[name], name, Seen(), "bytes") for name in order]
    stages = stages_of(cut_evenly(costs, size), len(order))
    sizes: dict[int, float] = {}
    for stage, cost in zip(stages, costs, strict=True):
        sizes[stage] = sizes.get(stage, 0) + cost
    return dict(zip(order, stages, strict=True)), sizes


def _dry_run(model: nn.Module, modules, options: Options) -> Seen:
    args, kwargs = options.args, options.kwargs
    if not args and not kwargs:
        return Seen(note="no example inputs were given")
    if any(parameter.is_meta for parameter in model.parameters()):
        return Seen(note="the model has no weights yet")
    main = getattr(model, "main_input_name", None)
    try:
        cut = Cut(args, kwargs, options.chunk_spec, model.forward, main)
        args, kwargs = cut.into(options.num_chunks)[0][0]
    except (CannotCut, ValueError):
        pass  # As a whole it may go.
    return probe(model, modules, lambda: model(*args, **kwargs))


def _cost(module: nn.Module, name: str, seen: Seen, placement: str) -> float:
    if placement == "time":
        return seen.seconds.get(name, 0.0)
    parameters = module.parameters()
    return sum(each.numel() * each.element_size() for each in parameters)
