"""What is done where code between units cannot be followed: it becomes a unit itself.

The module whose forward could not go on is then run by one rank as a whole, with all
that is in it. In the end that is the model itself, on the last rank.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import nn

from .spec import Spec
from .tracked import Parameter, Tracked, known, real
from .unit import Unit

if TYPE_CHECKING:
    from .prepared import Prepared


def blamed(prepared: Prepared, trace: TracebackType | None) -> str | None:
    """The innermost module of a model whose own code an error came from."""
    names = {id(module): name for name, module in prepared.model.named_modules()}
    found = None
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if isinstance(module, nn.Module) and id(module) in names:
            found = names[id(module)]
        trace = trace.tb_next
    return found


def coarsen(prepared: Prepared, path: str) -> None:
    """Makes a module one unit, on the rank that has most of it; all ranks call this."""
    inside = {
        name: unit
        for name, unit in prepared.units.items()
        if not path or name.startswith(f"{path}.")
    }
    if not inside:
        return
    owners = [unit.owner for unit in inside.values()]
    owner = max(owners, key=lambda rank: (owners.count(rank), rank))
    if not path:
        owner = prepared.link.size - 1
    for unit in inside.values():
        _move(unit, owner)
        del prepared.units[unit.name.partition(": ")[2]]
    module = prepared.model.get_submodule(path)
    name = f"{prepared.name}: {path or 'the model'}"
    whole = Unit(name, module, owner, prepared.link)
    if path:
        module.forward = whole.__call__
    else:
        # What users call is the pipeline; this is what the pipeline calls.
        whole.forward = prepared.forward
        prepared.forward = whole
    prepared.units[path] = whole


def _move(unit: Unit, owner: int) -> None:
    """Has a unit's parameters on another rank, and leaves placeholders behind."""
    if unit.owner == owner:
        return
    for prefix, module in unit.module.named_modules():
        for part, parameter in list(module._parameters.items()):
            if parameter is None:
                continue
            path = f"{prefix}.{part}" if prefix else part
            name = Parameter(unit.name, path)
            module._parameters[part] = _moved(unit, name, parameter, owner)
    unit.owner = owner


def _moved(unit: Unit, name: Parameter, parameter: Any, owner: int) -> Any:
    link = unit.link
    spec: Spec = known(parameter)
    value = parameter.detach() if link.rank == unit.owner else None
    moving = Tracked(link, spec, 1 << unit.owner, value)
    link.need(moving, owner)
    if link.rank == owner:
        if isinstance(parameter, Tracked):
            return nn.Parameter(real(moving), requires_grad=False)
        return parameter
    absent = Tracked(link, spec, 1 << owner)
    absent.absent = name
    absent._is_param = True
    return absent
