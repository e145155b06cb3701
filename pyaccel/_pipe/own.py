"""Arguments that each process passes itself: models, functions, who watches.

What else the main process passes is sent to all. These either cannot be sent or should
not: a streamer prints where it was made, an assistant model is everywhere already.
"""

from __future__ import annotations

import pickle
import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .tree import CONSTANTS, MAPPINGS, children, is_state, like, rebuild

_KINDS = (nn.Module, types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_NAMES = ("streamer", "tokenizer", "assistant_tokenizer")
_SENT = (torch.Tensor, torch.Generator, *CONSTANTS)


@dataclass(frozen=True, slots=True)
class Own:
    """Stands for what every rank has at this place of its own arguments."""

    path: tuple[Any, ...]


class Unseen:
    """A streamer for processes on which nobody watches."""

    def put(self, value: Any) -> None:
        """Takes tokens, as every streamer does."""

    def end(self) -> None:
        """Is told that there are no more."""


def without_own(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    """The tree to send, with marks for what stays."""
    if path[-1:] and path[-1] in _NAMES and tree is not None:
        return Own(path)
    parts = children(tree)
    if parts is None:
        return Own(path) if _stays(tree) else tree
    steps = list(tree) if isinstance(tree, MAPPINGS) else range(len(parts))
    return like(
        tree,
        [
            without_own(part, (*path, step))
            for step, part in zip(steps, parts, strict=True)
        ],
    )


def with_own(tree: Any, own: Any) -> Any:
    """The tree that was sent, with this rank's own arguments at their places."""

    def other(value: Any) -> Any:
        return _find(own, value.path) if isinstance(value, Own) else value

    return rebuild(tree, lambda tensor: tensor, other)


def _stays(value: Any) -> bool:
    if isinstance(value, _KINDS):
        return True
    if isinstance(value, _SENT) or is_state(value):
        return False
    try:
        pickle.dumps(value)
    except Exception:
        return True  # whatever its reason: it cannot be sent
    return False


def _find(own: Any, path: tuple[Any, ...]) -> Any:
    found = own
    try:
        for step in path:
            found = found[step]
    except (KeyError, IndexError, TypeError):
        found = None
    if found is None and path[-1] == "streamer":
        return Unseen()
    if found is None:
        name = ".".join(map(str, path[1:]))
        raise ValueError(
            f"the main process passes {name}, which cannot be sent, and this one "
            "passes none: pass it on every process"
        )
    return found
