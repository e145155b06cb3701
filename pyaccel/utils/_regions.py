"""Compiling a model by its repeated blocks, which takes the time of one of them."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch

from ._modules import has_repeated_blocks, is_repeated_blocks


def compile_regions(module: torch.nn.Module, **compile_kwargs) -> torch.nn.Module:
    """A copy of a model with its blocks compiled one by one and the rest around them.

    Blocks of one class in a ModuleList share what is compiled for the first of them.
    The copy has the model's own parameters, and `extract_model_from_parallel` finds the
    model again. `compile_kwargs` are torch.compile's.
    """
    compiled = _compiled(module, compile_kwargs)
    if "_orig_mod" not in compiled._modules:
        # Not a submodule: its parameters are the copy's own already.
        compiled.__dict__["_orig_mod"] = module
    return compiled


def _compiled(module: torch.nn.Module, options: dict[str, Any]) -> Any:
    if is_repeated_blocks(module):
        blocks = (torch.compile(block, **options) for block in module.children())
        return torch.nn.ModuleList(blocks)
    if not has_repeated_blocks(module):
        return torch.compile(module, **options)
    copy: Any = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    for name, value in module.__dict__.items():
        # A method that was put on the model itself, such as a wrapped `forward`.
        if getattr(value, "__self__", None) is module and hasattr(value, "__func__"):
            copy.__dict__[name] = MethodType(value.__func__, copy)
    children = {n: _compiled(child, options) for n, child in module.named_children()}
    copy.__dict__["_modules"] = children
    return copy
