"""A row of the matrix: a small random model, its inputs, and how it is made."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

BATCH = 5


def ids(length=12, batch=BATCH, high=99):
    """Random tokens."""
    return torch.randint(3, high, (batch, length))


def padded(tokens, side):
    """A mask of ones but for some tokens of two rows."""
    mask = torch.ones_like(tokens)
    mask[1:3, slice(None, 2) if side == "left" else slice(-2, None)] = 0
    return mask


def images(size=32, batch=BATCH):
    return torch.randn(batch, 3, size, size)


@dataclass(frozen=True)
class Row:
    """What is run in one process and in several."""

    name: str
    library: str  # transformers or diffusers
    model: str
    config: dict[str, Any]
    inputs: Callable[[], dict[str, Any]]
    config_class: str = ""  # of transformers
    generates: tuple[str, ...] | None = None  # the inputs that generate takes
    beams: bool = True
    whole: bool = False  # its outputs compare samples: the batch is not cut
    attention: bool = True  # it has more than one implementation of attention
    parts: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def build(self):
        """The model, in evaluation mode; the same wherever the seed is the same."""
        library = importlib.import_module(self.library)
        config = dict(self.config)
        for name, (kind, options) in self.parts.items():
            config[name] = getattr(library, kind)(**options)
        kind = getattr(library, self.model)
        if not self.config_class:
            return kind(**config).eval()
        return kind(getattr(library, self.config_class)(**config)).eval()


ROWS: dict[str, Row] = {}


def add(name, library, model, config, inputs, **options):
    """Puts a row into the table."""
    assert name not in ROWS, f"{name} is there already"
    ROWS[name] = Row(name, library, model, config, inputs, **options)


def load():
    """All rows, by name."""
    for part in ("text", "encoder_decoder", "vision", "several", "diffusers"):
        importlib.import_module(f"{__package__}.rows_{part}")
    return ROWS
