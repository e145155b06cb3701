"""Puts a placement into a model: stubs for units, placeholders for the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import wraps
from typing import Any

import torch
from torch import nn

from .link import Link
from .spec import spec_of
from .tracked import Parameter, Tracked
from .unit import Unit


def install(  # noqa: PLR0917 - called in one place
    link: Link,
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    owners: Mapping[str, int],
    shared: Collection[str],
    name: str,
) -> dict[str, Unit]:
    """Makes units of a model's modules and keeps only this rank's parameters.

    `shared` names parameters that code between units reads: they stay on every rank.
    """
    kept = set()
    for part, module in modules.items():
        for path, parameter in module.named_parameters():
            if owners[part] == link.rank or f"{part}.{path}" in shared:
                kept.add(id(parameter))
    units = {}
    for part, module in modules.items():
        unit = Unit(f"{name}: {part}", module, owners[part], link)
        units[part] = unit
        module.forward = _stub(unit)
        if unit.owner != link.rank:
            _empty(link, unit, kept)
    for module in model.modules():
        _move(module, link.device)
    return units


def _stub(unit: Unit) -> Any:
    """What is called instead of a module's forward; it has that one's signature."""

    @wraps(unit.forward)
    def forward(*args, **kwargs):
        return unit(*args, **kwargs)

    return forward


def _empty(link: Link, unit: Unit, kept: set[int]) -> None:
    """Replaces parameters of a unit of another rank by placeholders."""
    for prefix, module in unit.module.named_modules():
        for part, parameter in list(module._parameters.items()):
            if parameter is None or id(parameter) in kept:
                continue
            if isinstance(parameter, Tracked):
                continue
            path = f"{prefix}.{part}" if prefix else part
            absent = Tracked(link, spec_of(parameter), 1 << unit.owner)
            absent.absent = Parameter(unit.name, path)
            absent.requires_grad_(False)
            absent._is_param = True
            module._parameters[part] = absent


def _move(module: nn.Module, device: torch.device) -> None:
    for parameter in module._parameters.values():
        if parameter is not None and not isinstance(parameter, Tracked):
            parameter.data = parameter.data.to(device)
    for part, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[part] = buffer.to(device)
