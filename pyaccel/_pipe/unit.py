"""A unit: a module that one rank runs, and whose call all ranks take part in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from . import capture
from .effects import Answer, Slot, change_state, fill
from .link import Link, code_of
from .rules import Memory
from .spec import Spec, spec_of
from .state import Path, first_part, paths_of, walk
from .tracked import Tracked, known, written
from .tree import CONSTANTS, Description, containers_of, describe, put


class Mispredicted(Exception):
    """A unit's call went otherwise than all ranks took for certain."""

    def __init__(self, unit: str):
        super().__init__(unit)
        self.unit = unit


class _Call:
    """What one call of a unit is recognised by."""

    __slots__ = ("numbers", "reals", "states", "structure", "tensors", "windows")

    def __init__(self, found: Description, touched: set[tuple[int, Path]] | None):
        self.tensors = found.tensors
        self.states = found.states
        self.reals = tuple(found.reals)
        self.numbers = list(found.numbers)
        self.windows: list[int] = []
        specs = [known(tensor) for tensor in found.tensors]
        for spec in specs:
            self.numbers += spec.shape
        self.structure = (
            tuple(found.key),
            tuple((spec.dtype, len(spec.shape)) for spec in specs),
            self._read(touched),
            tuple(capture.active()),
        )

    def _read(self, touched: set[tuple[int, Path]] | None) -> tuple[Any, ...] | None:
        """What the call's state objects hold where the unit looks at them."""
        if touched is None or not self.states:
            return None
        found: list[Any] = []
        for number, state in enumerate(self.states):
            only = paths_of(touched, number)
            # A unit that changes nothing may read how long the cache is.
            for path, entry in walk(state, only or [first_part(state)]).items():
                found.append((number, path, self._value(path, entry.value)))
        return tuple(found)

    def _value(self, path: Path, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            spec = known(value)
            self.numbers += spec.shape
            return (spec.dtype, len(spec.shape))
        if isinstance(value, int) and not isinstance(value, bool):
            if path[-1] == "sliding_window":
                self.windows.append(len(self.numbers))
            self.numbers.append(value)
            return int
        return value if isinstance(value, CONSTANTS) else type(value)


class Unit:
    """A module, its owner, and what is known of its calls."""

    def __init__(self, name: str, module: nn.Module, owner: int, link: Link):
        self.name = name
        self.module = module
        self.owner = owner
        self.link = link
        self.code = code_of(name)
        self.forward: Callable[..., Any] = module.forward
        self.memory = Memory()
        # Parts of state objects that it changes; None before its first call.
        self.touched: set[tuple[int, Path]] | None = None
        # After a prediction that was wrong, first without rules, then without memory.
        self.foretells = True
        self.told_always = False
        link.learners[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's `forward` on every rank."""
        link = self.link
        if link.unit is not None:
            # Within another unit all is here.
            return self.forward(*args, **kwargs)
        link.counts["units"] += 1
        link.step(self.code, self.name)
        call = _Call(describe((args, kwargs)), self.touched)
        for tensor in call.tensors:
            if isinstance(tensor, Tracked):
                link.need(tensor, self.owner)
        answer = self._expect(call)
        tensors: list[Any] = []
        changed: dict[Any, torch.Tensor] = {}
        if link.rank == self.owner:
            parts = self.touched if answer is not None else None
            watch = _Run(self, call, args, kwargs, parts)
            if answer is not None and not answer.agrees(watch.answer):
                raise Mispredicted(self.name)
            tensors, changed = watch.tensors, watch.changed
            answer = self._learn(call, watch.answer) if answer is None else answer
        elif answer is None:
            answer = self._learn(call, None)
        return self._apply(call, answer, tensors, changed, (args, kwargs))

    def demanded(self, what: str) -> None:
        """Does what an attempt has shown to be necessary, on all ranks."""
        if what == "tell":
            self.told_always = not self.foretells
            self.foretells = False
        else:
            self._share(what.removeprefix("share "))

    def _share(self, path: str) -> None:
        """Has a parameter on every rank, as code between units reads it."""
        before, _, name = path.rpartition(".")
        module = self.module.get_submodule(before)
        parameter = module._parameters[name]
        assert parameter is not None  # somebody read it
        value = parameter.detach() if self.link.rank == self.owner else None
        now = Tracked(self.link, known(parameter), 1 << self.owner, value)
        whole = self.link.replicate(now)
        if isinstance(parameter, Tracked):
            module._parameters[name] = nn.Parameter(whole, requires_grad=False)

    # ---- What is known before the call ----

    def _expect(self, call: _Call) -> Answer | None:
        """The answer, if it is known or can be foretold."""
        link = self.link
        if self.told_always:
            return None
        key = (call.structure, tuple(call.numbers), call.reals)
        answer: Any = self.memory.exact.get(key)
        if answer is not None:
            link.unsure = link.unsure or answer.by_value
            return answer
        rule = self.memory.rules.get(call.structure) if self.foretells else None
        numbers = rule.foretell(call.numbers) if rule is not None else None
        if rule is None or numbers is None:
            return None
        link.unsure = True
        link.counts["foretold"] += 1
        template: Any = rule.template
        return template.with_numbers(numbers)

    def _learn(self, call: _Call, actual: Answer | None) -> Answer:
        """The owner tells its answer, and all ranks remember it."""
        link = self.link
        link.unsure = True
        link.counts["told"] += 1
        answer: Answer = link.tell(self.owner, actual)
        if self.told_always or answer.opaque:
            return answer
        key = (call.structure, tuple(call.numbers), call.reals)
        self.memory.remember(key, answer, link.learned)
        if call.states:
            link.learned.append(partial(setattr, self, "touched", self.touched))
            self.touched = (self.touched or set()) | answer.touched()
        if answer.is_foretellable():
            numbers = answer.numbers()
            self.memory.note(
                call.structure,
                call.numbers,
                call.windows,
                numbers,
                answer,
                link.learned,
            )
        return answer

    # ---- What all ranks do ----

    def _apply(self, call: _Call, answer: Answer, tensors, changed, arguments) -> Any:
        link = self.link
        holders = 1 << self.owner
        for change in answer.changes:
            value = change.value
            if isinstance(value, Spec):
                own = changed.get((change.root, change.path))
                value = Tracked(link, value, holders, own)
            elif change.kind in ("dict", "list", "object"):
                if link.rank == self.owner:
                    continue
                value = _new(value, change.kind)
            change_state(call.states, change, value)
        values = [
            call.tensors[leaf]
            if isinstance(leaf, int)
            else Tracked(link, leaf, holders, tensors[place] if tensors else None)
            for place, leaf in enumerate(answer.leaves)
        ]
        if answer.puts:
            containers = containers_of(arguments)
            for number, place, skeleton in answer.puts:
                put(containers[number], place, fill(skeleton, values, call.states))
        lists = capture.active() if answer.captured else {}
        for key, items in answer.captured:
            lists[key].extend(fill(item, values, call.states) for item in items)
        for place in answer.written:
            self._written(call.tensors[place])
        skeleton = answer.skeleton
        if type(skeleton) is Slot:
            return values[skeleton.number]
        return fill(skeleton, values, call.states)

    def _written(self, tensor: torch.Tensor) -> None:
        """An argument that the unit wrote into: only the owner has what it is now."""
        link = self.link
        if isinstance(tensor, Tracked):
            tensor.holders = 1 << self.owner
            if link.rank != self.owner:
                tensor.value = None
            written(tensor)
            return
        mine = tensor if link.rank == self.owner else None
        now = Tracked(link, spec_of(tensor), 1 << self.owner, mine)
        value = link.replicate(now)
        if link.rank != self.owner:
            with torch.no_grad():
                tensor.copy_(value)


class _Run:
    """The unit's run on its owner."""

    def __init__(self, unit: Unit, call: _Call, args, kwargs, parts):
        from .watch import Watch

        watch = Watch(args, kwargs, call.states, call.tensors, parts)
        unit.link.unit = unit.name
        try:
            returned, by_value = watch.run(unit.forward)
        except BaseException:
            watch.close()
            unit.link.failed_in = unit.name
            raise
        finally:
            unit.link.unit = None
        self.answer = watch.answer(returned, by_value)
        self.tensors = watch.tensors
        self.changed = watch.changed


def _new(value: Any, kind: str) -> Any:
    return value.__new__(value) if kind == "object" else type(value)(value)
