"""A unit's run on its owner: what it is given, and what is another afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from . import capture
from .effects import Answer, Change, Skeletons
from .ops import classify, is_mask
from .spec import spec_of
from .state import (
    Entry,
    Path,
    made_empty,
    order_of,
    paths_of,
    version_of,
    walk,
)
from .tracked import Tracked, real
from .tree import CONSTANTS, containers_of, items_of, rebuild


class ByValue(TorchDispatchMode):
    """Notes whether an operation looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Runs the operation as it is."""
        op = classify(func)
        if op.of_value or (op.indexing and any(map(is_mask, args[1]))):
            self.seen = True
        return func(*args, **(kwargs or {}))


class Watch:
    """From before a unit's call to its answer.

    `parts` are the entries of state objects that the unit is known to change; None
    looks at all of them, and then also whether values decide.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        states: list[Any],
        tensors: list[torch.Tensor],
        parts: set[tuple[int, Path]] | None,
    ):
        self._states = states
        self._parts = parts
        self._swapped: list[tuple[Entry, torch.Tensor]] = []
        self._before = [self._open(number) for number in range(len(states))]
        self.args, self.kwargs = rebuild(args, real), rebuild(kwargs, real)
        self._inputs = [real(tensor) for tensor in tensors]
        self._versions = [version_of(tensor) for tensor in self._inputs]
        self._containers = containers_of((self.args, self.kwargs))
        self._items = [items_of(container) for container in self._containers]
        self._lists = capture.active()
        self._lengths = {key: len(items) for key, items in self._lists.items()}
        # What the answer describes: the tensors of its leaves and of its changes.
        self.tensors: list[torch.Tensor] = []
        self.changed: dict[tuple[int, Path], torch.Tensor] = {}

    def run(self, forward) -> Any:
        """The unit's own call."""
        if self._parts is not None:
            return forward(*self.args, **self.kwargs), False
        with ByValue() as looks:
            returned = forward(*self.args, **self.kwargs)
        return returned, looks.seen

    def answer(self, returned: Any, by_value: bool) -> Answer:
        """What the call returned and changed; puts placeholders back."""
        changes = [
            change
            for number in range(len(self._states))
            for change in self._changes(number)
        ]
        self.close()
        skeletons = Skeletons(self._states)
        skeleton = skeletons.of(returned)
        puts = self._puts(skeletons)
        captured = self._captured(skeletons)
        self.tensors = skeletons.tensors
        places = {id(tensor): place for place, tensor in enumerate(self._inputs)}
        return Answer(
            skeleton,
            [places.get(id(tensor), spec_of(tensor)) for tensor in self.tensors],
            changes,
            puts,
            captured,
            [
                place
                for place, tensor in enumerate(self._inputs)
                if version_of(tensor) != self._versions[place]
            ],
            by_value,
            skeletons.opaque,
        )

    def close(self) -> None:
        """Puts the placeholders of entries back that the unit left as they were."""
        for entry, tracked in self._swapped:
            try:
                current = entry.container[entry.place]
            except (KeyError, IndexError):
                continue
            if current is tracked.value:
                entry.container[entry.place] = tracked
        self._swapped.clear()

    def _walk(self, number: int) -> dict[Path, Entry]:
        if self._parts is None:
            return walk(self._states[number])
        return walk(self._states[number], paths_of(self._parts, number))

    def _open(self, number: int) -> dict[Path, tuple[Any, int]]:
        """Puts tensors where placeholders stand; each entry's value and version."""
        before = {}
        for path, entry in self._walk(number).items():
            value = entry.value
            if isinstance(value, Tracked) and value.holders >> value.link.rank & 1:
                tracked, value = value, real(value)
                self._swapped.append((entry, tracked))
                entry.container[entry.place] = value
            version = version_of(value) if isinstance(value, torch.Tensor) else 0
            before[path] = (value, version)
        return before

    def _changes(self, number: int) -> list[Change]:
        missing = object()
        wrapped = {id(tracked.value) for _, tracked in self._swapped}
        found = []
        for path, entry in self._walk(number).items():
            value = entry.value
            old, version = self._before[number].get(path, (missing, 0))
            if entry.kind == "tensor":
                same = old is value and (
                    version_of(value) == version or id(value) in wrapped
                )
                if same or isinstance(value, Tracked):
                    continue
                found.append(Change(number, path, "tensor", spec_of(value)))
                self.changed[number, path] = value
            elif entry.kind == "constant":
                if old is missing or type(old) is not type(value) or old != value:
                    found.append(Change(number, path, "constant", value))
            elif old is missing:
                empty = made_empty(value, entry.kind)
                found.append(Change(number, path, entry.kind, empty))
        # Found in this order whatever was looked at; containers before what is in them.
        return sorted(found, key=lambda change: order_of(change.path))

    def _puts(self, skeletons: Skeletons) -> list[tuple[int, Any, Any]]:
        found = []
        for number, (container, old) in enumerate(
            zip(self._containers, self._items, strict=True)
        ):
            for place, value in items_of(container).items():
                if place in old and _is_same(value, old[place]):
                    continue
                found.append((number, place, skeletons.of(value)))
        return found

    def _captured(self, skeletons: Skeletons) -> list[tuple[Any, list[Any]]]:
        found = []
        for key, items in self._lists.items():
            new = items[self._lengths[key] :]
            if new:
                found.append((key, [skeletons.of(item) for item in new]))
                del items[self._lengths[key] :]
        return found


def _is_same(value: Any, old: Any) -> bool:
    return value is old or (isinstance(value, CONSTANTS) and value == old)
