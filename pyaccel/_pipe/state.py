"""Objects that units keep tensors in, as a cache is: what is in them, and what changed.

An entry of such an object is named by its path: attributes, keys and positions from the
object on. A unit touches few of them; which, is learned from its first call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from .tree import CONSTANTS, MAPPINGS, is_state

Path = tuple[Any, ...]


class Entry(NamedTuple):
    """Where an entry stands, and what is there; `kind` is "list" and so on for more."""

    container: Any
    place: Any
    value: Any
    kind: str  # tensor, constant, dict, list, object


def walk(root: Any, only: Iterable[Path] | None = None) -> dict[Path, Entry]:
    """An object's entries, or those below some paths, each before what is in it."""
    found: dict[Path, Entry] = {}
    if only is None:
        attributes = vars(root)
        for name, value in list(attributes.items()):
            _visit(attributes, name, value, (name,), found)
        return found
    for path in only:
        try:
            container, place = find(root, path)
            value = container[place]
        except (KeyError, IndexError):
            continue
        _visit(container, place, value, path, found)
    return found


def _visit(container, place, value, path: Path, found: dict[Path, Entry]) -> None:
    if isinstance(value, torch.Tensor):
        found[path] = Entry(container, place, value, "tensor")
    elif isinstance(value, CONSTANTS):
        found[path] = Entry(container, place, value, "constant")
    elif isinstance(value, MAPPINGS):
        found[path] = Entry(container, place, value, "dict")
        for key, item in list(value.items()):
            _visit(value, key, item, (*path, key), found)
    elif isinstance(value, list):
        found[path] = Entry(container, place, value, "list")
        for index, item in enumerate(value):
            _visit(value, index, item, (*path, index), found)
    elif is_state(value):
        found[path] = Entry(container, place, value, "object")
        attributes = vars(value)
        for name, item in list(attributes.items()):
            _visit(attributes, name, item, (*path, name), found)


def find(root: Any, path: Path) -> tuple[Any, Any]:
    """The container that an entry stands in, and its place there."""
    container: Any = vars(root)
    for step in path[:-1]:
        container = container[step]
        if is_state(container):
            container = vars(container)
    return container, path[-1]


def part_of(path: Path) -> Path:
    """The part of an object that an entry belongs to: a cache's layer, for example."""
    for index, step in enumerate(path):
        if isinstance(step, int):
            return path[: index + 1]
    return path


def first_part(root: Any) -> Path:
    """Where what only reads a cache looks: at its first layer."""
    if hasattr(root, "self_attention_cache"):
        return ("self_attention_cache", "layers", 0)
    return ("layers", 0)


def made_empty(value: Any, kind: str) -> Any:
    """What stands for a new container on ranks that did not see it made."""
    if kind == "dict":
        return type(value)() if type(value) in (dict,) else {}
    return [] if kind == "list" else type(value)


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor was written, which torch does not count in inference mode."""
    return 0 if tensor.is_inference() else tensor._version


def order_of(path: Path) -> tuple[Any, ...]:
    """A key to sort paths by, the same in every process; positions as numbers."""
    return tuple(
        (0, step, "") if isinstance(step, int) else (1, 0, str(step)) for step in path
    )


def paths_of(parts: Iterable[tuple[int, Path]], number: int) -> list[Path]:
    """The parts of one of a call's state objects, in order."""
    return sorted((path for root, path in parts if root == number), key=order_of)
