"""Arguments and results as trees: taken apart for comparison, put together again.

Containers are tuples, lists, dicts and what derives from them; tensors, plain values
and objects are leaves. `describe` is what a unit's call is recognised by.
"""

from __future__ import annotations

import types
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

PLAIN = (bool, int, float, complex, str, bytes, type(None))
# Compared by value and sent as they are.
CONSTANTS = (
    *PLAIN,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Size,
    type,
)
MAPPINGS = (dict, UserDict)
_NO_STATE = (nn.Module, torch.Tensor, torch.Generator, type, types.ModuleType)
# Whose objects may carry tensors from unit to unit; others are taken as constants.
_LIBRARIES = ("transformers.", "diffusers.")


def is_state(value: Any) -> bool:
    """Whether a value is an object that units keep tensors in, as a cache is."""
    kind = type(value)
    if not hasattr(value, "__dict__") or isinstance(value, _NO_STATE + MAPPINGS):
        return False
    if kind.__name__.endswith("Config") or callable(value):
        return False
    return _is_library(kind)


def is_cache(value: Any) -> bool:
    """Whether a value is what a model keeps from one call for the next."""
    kind = type(value)
    return is_state(value) and ("Cache" in kind.__name__ or hasattr(kind, "reset"))


def _is_library(kind: type) -> bool:
    # A class that a script derives from a library's is as good as the library's.
    return any(
        each.__module__.startswith(_LIBRARIES)
        or each.__dict__.get("_pyaccel_state", False)
        for each in kind.__mro__
    )


class Description:
    """What `describe` finds in a tree."""

    __slots__ = ("generators", "key", "numbers", "reals", "states", "tensors")

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.key: list[Any] = []  # structure, and what is compared by value
        self.numbers: list[int] = []
        self.reals: list[float | complex] = []  # these never decide about a shape
        self.states: list[Any] = []  # each once
        self.generators: list[torch.Generator] = []


def describe(tree: Any, into: Description | None = None) -> Description:
    """A tree's tensors in order, its structure as hashable values, and its numbers."""
    found = Description() if into is None else into
    _describe(tree, found)
    return found


def _describe(x: Any, found: Description) -> None:
    key = found.key
    if isinstance(x, torch.Tensor):
        key.append(torch.Tensor)
        found.tensors.append(x)
    elif isinstance(x, (tuple, list)) and type(x) is not torch.Size:
        key.append((type(x), len(x)))
        for item in x:
            _describe(item, found)
    elif isinstance(x, MAPPINGS):
        key.append((type(x), tuple(x)))
        for item in x.values():
            _describe(item, found)
    elif isinstance(x, CONSTANTS):
        _describe_constant(x, found)
    else:
        key.append(type(x))
        if isinstance(x, torch.Generator):
            found.generators.append(x)
        elif is_state(x) and not any(x is known for known in found.states):
            found.states.append(x)


def _describe_constant(x: Any, found: Description) -> None:
    if isinstance(x, torch.Size):
        found.key.append((torch.Size, len(x)))
        found.numbers.extend(x)
    elif isinstance(x, int) and not isinstance(x, bool):
        found.key.append(int)
        found.numbers.append(x)
    elif isinstance(x, (float, complex)):
        found.key.append(float)
        found.reals.append(x)
    else:
        found.key.append(x)


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """A tree's tensors, in order."""
    return describe(tree).tensors


Leaf = Callable[[Any], Any]


def children(tree: Any) -> list[Any] | None:
    """What is in a container, or None for a leaf."""
    if isinstance(tree, (tuple, list)) and type(tree) is not torch.Size:
        return list(tree)
    return list(tree.values()) if isinstance(tree, MAPPINGS) else None


def like(old: Any, items: list[Any]) -> Any:
    """A container as another one, with other items."""
    kind: Any = type(old)
    if kind is tuple:
        return tuple(items)
    if kind is list:
        return items
    if isinstance(old, tuple):
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    if isinstance(old, list):
        made = kind.__new__(kind)
        made.__dict__.update(getattr(old, "__dict__", {}))
        made.extend(items)
        return made
    return _mapping(old, dict(zip(old, items, strict=True)))


def _mapping(old: Any, values: dict[Any, Any]) -> Any:
    kind: Any = type(old)
    if kind is dict:
        return values
    if isinstance(old, UserDict):
        made = kind.__new__(kind)
        made.__dict__.update(old.__dict__)
        made.data = values
        return made
    if isinstance(old, defaultdict):
        return defaultdict(old.default_factory, values)
    return OrderedDict(values) if kind is OrderedDict else kind(**values)


def rebuild(tree: Any, tensor: Leaf, other: Leaf | None = None) -> Any:
    """The tree with its tensors, and with `other` also its other leaves, replaced."""
    if isinstance(tree, torch.Tensor):
        return tensor(tree)
    items = children(tree)
    if items is not None:
        return like(tree, [rebuild(item, tensor, other) for item in items])
    return tree if other is None else other(tree)


def containers_of(tree: Any, found: list[Any] | None = None) -> list[Any]:
    """Lists and mappings in a tree, which whoever is given them could change."""
    found = [] if found is None else found
    if isinstance(tree, (list, *MAPPINGS)):
        found.append(tree)
    for item in children(tree) or ():
        containers_of(item, found)
    return found


def items_of(container: Any) -> dict[Any, Any]:
    """A list's or mapping's items by their place in it."""
    if isinstance(container, list):
        return dict(enumerate(container))
    return dict(container)


def put(container: Any, place: Any, value: Any) -> None:
    """Sets an item of a list or mapping; a place just behind a list's end is new."""
    if isinstance(container, list) and place >= len(container):
        container.append(value)
    else:
        container[place] = value
