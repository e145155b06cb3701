"""What surrounds a model: wrappers, compilation, blocks; `other` offers these names."""

from __future__ import annotations

import sys
from typing import Any

import torch


def is_compiled_module(module: torch.nn.Module) -> bool:
    """Whether a module is what torch.compile returned."""
    # The class is there only once something was compiled.
    frame = sys.modules.get("torch._dynamo.eval_frame")
    return frame is not None and isinstance(module, frame.OptimizedModule)


def has_compiled_regions(module: torch.nn.Module) -> bool:
    """Whether a module or one within it was compiled with torch.compile."""
    return any(map(is_compiled_module, _modules(module)))


def is_repeated_blocks(module: torch.nn.Module) -> bool:
    """Whether a module is a ModuleList of blocks that are all of one class."""
    return (
        isinstance(module, torch.nn.ModuleList)
        and len(module) > 0
        and all(isinstance(block, type(module[0])) for block in module)
    )


def has_repeated_blocks(module: torch.nn.Module) -> bool:
    """Whether a module or one within it is a list of blocks of one class."""
    return any(map(is_repeated_blocks, _modules(module)))


def model_has_dtensor(model: torch.nn.Module) -> bool:
    """Whether a parameter of a model is spread over devices as torch's DTensor."""
    tensor = sys.modules.get("torch.distributed.tensor")
    if tensor is None:
        return False  # Nobody has made one.
    return any(isinstance(parameter, tensor.DTensor) for parameter in _of(model))


def get_model_tp_size(model: torch.nn.Module) -> int | None:
    """Over how many devices a model's tensors are spread; None for a whole model."""
    return getattr(model, "tp_size", None) or getattr(model, "_tp_size", None)


def get_module_children_bottom_up(
    model: torch.nn.Module, return_fqns: bool = False
) -> list[Any]:
    """Every module of a model, each after those within it, the model last.

    With `return_fqns`, pairs of full name and module.
    """
    found: list[Any] = []

    def visit(name: str, module: torch.nn.Module) -> None:
        for child_name, child in module.named_children():
            visit(f"{name}.{child_name}" if name else child_name, child)
        found.append((name, module) if return_fqns else module)

    visit("", model)
    return found


def extract_model_from_parallel(
    model: torch.nn.Module,
    keep_fp32_wrapper: bool = True,
    keep_torch_compile: bool = True,
    recursive: bool = False,
) -> torch.nn.Module:
    """The model within what runs it on several devices.

    A compiled model stays compiled unless `keep_torch_compile=False`. With
    `keep_fp32_wrapper=False` its `forward` is again what it was before it was wrapped
    to compute in another precision. `recursive` unwraps the modules within it, too.
    """
    compiled = model if is_compiled_module(model) else None
    if compiled is not None:
        model = compiled._orig_mod
    elif not keep_torch_compile and "_orig_mod" in getattr(model, "__dict__", {}):
        # Its regions were compiled one by one; this is the model that they came from.
        model = model.__dict__["_orig_mod"]
    model = _unwrapped(model, recursive)
    if not keep_fp32_wrapper:
        _restore_forward(model)
    if compiled is not None and keep_torch_compile:
        compiled._orig_mod = model
        return compiled
    return model


def _modules(module: Any):
    """A module and those within it; nothing for what is no module."""
    return module.modules() if isinstance(module, torch.nn.Module) else ()


def _of(model: Any):
    return model.parameters() if isinstance(model, torch.nn.Module) else ()


def _wrappers() -> tuple[Any, ...]:
    """The classes that hold a model as their `module` to run it on several devices."""
    classes: list[Any] = [
        torch.nn.parallel.DistributedDataParallel,
        torch.nn.DataParallel,
    ]
    # A model can be wrapped in these only where their modules were imported.
    for module, name in (
        ("torch.distributed.fsdp", "FullyShardedDataParallel"),
        ("deepspeed", "DeepSpeedEngine"),
    ):
        found = getattr(sys.modules.get(module), name, None)
        if found is not None:
            classes.append(found)
    return tuple(classes)


def _unwrapped(model: Any, recursive: bool) -> Any:
    wrappers = _wrappers()
    while isinstance(model, wrappers):
        model = model.module
    if recursive and isinstance(model, torch.nn.Module):
        for name, child in model.named_children():
            inner = _unwrapped(child, recursive)
            if inner is not child:
                setattr(model, name, inner)
    return model


def _restore_forward(model: Any) -> None:
    """Undoes what was wrapped around `forward` since it was put aside."""
    original = model.__dict__.pop("_original_forward", None)
    if original is not None:
        model.forward = original
