"""A dry run of a whole model: which units run in which order, how long, and which
parameters code between units reads. It is an aid: what it does not see is found later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .tree import tensors_of


@dataclass
class Seen:
    """What a dry run has shown."""

    order: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)  # parameters read between units
    note: str = ""  # why it ended early, if it did


class _Reads(TorchDispatchMode):
    """Notes parameters of units that are read while none of their units runs."""

    def __init__(self, units: dict[str, nn.Module]):
        super().__init__()
        self.running: list[str] = []
        self.outside: set[str] = set()
        self._of: dict[int, tuple[set[str], set[str]]] = {}
        for name, module in units.items():
            for part, parameter in module.named_parameters():
                owners, names = self._of.setdefault(id(parameter), (set(), set()))
                owners.add(name)
                names.add(f"{name}.{part}")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Looks at the arguments and runs the operation as it is."""
        for tensor in tensors_of((args, kwargs or {})):
            owners, names = self._of.get(id(tensor), (None, None))
            if owners and not (self.running and self.running[-1] in owners):
                self.outside.update(names or ())
        return func(*args, **(kwargs or {}))


def probe(
    model: nn.Module, units: dict[str, nn.Module], run: Callable[[], Any]
) -> Seen:
    """Runs a model once, in evaluation mode and without gradients.

    Where `run` raises, the note says so and the rest is what was seen until then.
    """
    seen = Seen()
    reads = _Reads(units)

    def watched(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args, **kwargs):
            if name not in seen.order:
                seen.order.append(name)
            reads.running.append(name)
            began = time.perf_counter()
            try:
                return forward(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                seen.seconds[name] = seen.seconds.get(name, 0.0) + took
                reads.running.pop()

        return call

    training = [module for module in model.modules() if module.training]
    own = {name: module.__dict__.get("forward") for name, module in units.items()}
    for name, module in units.items():
        module.forward = watched(name, module.forward)
    random = torch.get_rng_state()
    try:
        model.eval()
        with reads, torch.no_grad():
            run()
    except Exception as error:
        seen.note = f"{type(error).__name__}: {error}"
    finally:
        torch.set_rng_state(random)
        for name, module in units.items():
            del module.__dict__["forward"]
            if own[name] is not None:
                module.forward = own[name]
        for module in training:
            module.training = True
    seen.outside = sorted(reads.outside)
    return seen
