"""What a unit's call returns and what else it changes, as its owner tells it.

Beside its result a unit may change objects it is given (a cache), put items into lists
and dicts among its arguments, write into tensors, and leave tensors with those who
capture intermediate results. All of it is described once by an `Answer`, without bytes,
and repeated with placeholders on every rank, on the owner too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from .spec import Spec
from .state import Path, find, part_of
from .tree import CONSTANTS, describe, put, rebuild


@dataclass(frozen=True, slots=True)
class Slot:
    """In a skeleton: the tensor of that number among the answer's leaves."""

    number: int


@dataclass(frozen=True, slots=True)
class Same:
    """In a skeleton: the state object of that number among the call's."""

    number: int


@dataclass(frozen=True, slots=True)
class Made:
    """In a skeleton: an object that the unit made, by its class and attributes."""

    kind: Any  # a class
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of a state object that is another than before the call."""

    root: int
    path: Path
    kind: str  # as an Entry's; a new container's value is what makes an empty one
    value: Any  # a Spec for a tensor

    def same_but_strides(self, other: Change) -> bool:
        """Whether it is the same change; strides are the owner's own business."""
        mine, theirs = self.value, other.value
        if isinstance(mine, Spec) and isinstance(theirs, Spec):
            mine, theirs = (mine.shape, mine.dtype), (theirs.shape, theirs.dtype)
        return (self.root, self.path, self.kind, mine) == (
            other.root,
            other.path,
            other.kind,
            theirs,
        )


@dataclass(slots=True)
class Answer:
    """All that other ranks must know of a unit's call."""

    skeleton: Any
    # A tensor's spec, or the number of the argument's tensor that it is.
    leaves: list[Spec | int]
    changes: list[Change] = field(default_factory=list)
    # List or mapping of the arguments, the place in it, what was put there.
    puts: list[tuple[int, Any, Any]] = field(default_factory=list)
    captured: list[tuple[Any, list[Any]]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)  # arguments' tensors
    # The unit looked at values, which may decide about shapes: never taken for sure.
    by_value: bool = False
    # It returned what has no description but itself: to be told every time.
    opaque: bool = False

    def numbers(self) -> list[int]:
        """All lengths and integers, in a fixed order: what rules foretell."""
        found = [
            n for leaf in self.leaves if isinstance(leaf, Spec) for n in leaf.shape
        ]
        for change in self.changes:
            if isinstance(change.value, Spec):
                found += change.value.shape
            elif _is_number(change.value):
                found.append(change.value)
        return found + describe(self.skeleton).numbers

    def with_numbers(self, numbers: list[int]) -> Answer:
        """The same answer with other numbers in their places."""
        left = iter(numbers)

        def again(leaf):
            if not isinstance(leaf, Spec):
                return leaf
            return leaf.like(tuple(next(left) for _ in leaf.shape))

        def changed(change: Change) -> Change:
            value = change.value
            if isinstance(value, Spec):
                value = again(value)
            elif _is_number(value):
                value = next(left)
            return Change(change.root, change.path, change.kind, value)

        def other(value):
            if isinstance(value, torch.Size):
                return torch.Size(next(left) for _ in value)
            return next(left) if _is_number(value) else value

        leaves = [again(leaf) for leaf in self.leaves]
        changes = [changed(change) for change in self.changes]
        skeleton = rebuild(self.skeleton, lambda tensor: tensor, other)
        return Answer(
            skeleton,
            leaves,
            changes,
            self.puts,
            self.captured,
            self.written,
            self.by_value,
            self.opaque,
        )

    def is_foretellable(self) -> bool:
        """Whether other numbers are all that may differ in the next call."""
        return not self.opaque and not describe(self.skeleton).reals

    def agrees(self, actual: Answer) -> bool:
        """Whether a call went as this answer foretold; strides do not count."""
        return (
            len(self.leaves) == len(actual.leaves)
            and all(map(_same_leaf, self.leaves, actual.leaves))
            and len(self.changes) == len(actual.changes)
            and all(map(Change.same_but_strides, self.changes, actual.changes))
            and self.written == actual.written
            and self.puts == actual.puts
            and self.captured == actual.captured
            and self.skeleton == actual.skeleton
        )

    def touched(self) -> set[tuple[int, Path]]:
        """The parts of state objects that the call changed."""
        return {(change.root, part_of(change.path)) for change in self.changes}


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _same_leaf(mine: Spec | int, theirs: Spec | int) -> bool:
    if isinstance(mine, Spec) and isinstance(theirs, Spec):
        return (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
    return type(mine) is type(theirs) and mine == theirs


class Skeletons:
    """Makes skeletons of one call's results: each tensor and state object once."""

    def __init__(self, states: list[Any]):
        self.tensors: list[torch.Tensor] = []
        self.opaque = False
        self._states = states
        self._numbers: dict[int, int] = {}

    def of(self, tree: Any) -> Any:
        """The tree without its tensors."""
        return rebuild(tree, self._slot, self._other)

    def _slot(self, tensor: torch.Tensor) -> Slot:
        number = self._numbers.setdefault(id(tensor), len(self.tensors))
        if number == len(self.tensors):
            self.tensors.append(tensor)
        return Slot(number)

    def _other(self, value: Any) -> Any:
        for number, state in enumerate(self._states):
            if value is state:
                return Same(number)
        if isinstance(value, CONSTANTS) or callable(value):
            return value
        attributes = getattr(value, "__dict__", None)
        if attributes is None or isinstance(value, torch.Generator):
            self.opaque = True
            return value
        return Made(type(value), {k: self.of(v) for k, v in attributes.items()})


def fill(skeleton: Any, values: list[Any], states: list[Any]) -> Any:
    """The tree that a skeleton is of, with these tensors and state objects."""

    def other(value):
        if isinstance(value, Slot):
            return values[value.number]
        if isinstance(value, Same):
            return states[value.number]
        if isinstance(value, Made):
            made = value.kind.__new__(value.kind)
            for name, part in value.attributes.items():
                made.__dict__[name] = fill(part, values, states)
            return made
        return value

    return rebuild(skeleton, lambda tensor: tensor, other)


def change_state(states: list[Any], change: Change, value: Any) -> None:
    """Repeats a change with a value of this rank."""
    container, place = find(states[change.root], change.path)
    put(container, place, value)
