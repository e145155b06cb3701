"""Units of a model: what one rank runs as a whole.

Blocks of a stack, whatever their class; modules that the model's library says must not
be split; and otherwise the smallest modules with parameters. The Python of everything
above them runs on every rank.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

# Elements of a list that are parts of one layer rather than blocks of a stack.
_LEAVES = (
    nn.Linear,
    nn.Embedding,
    nn.ModuleList,
    nn.ModuleDict,
    nn.Conv2d,
    nn.LayerNorm,
)


def size_of(module: nn.Module) -> int:
    """The number of parameters in a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def find_units(
    model: nn.Module, no_split: Collection[str] = ()
) -> dict[str, nn.Module]:
    """The units of a model by their names, in the order in which they are defined."""
    names = set(no_split)
    for module in model.modules():
        names.update(getattr(module, "_no_split_modules", None) or ())
    found: dict[str, nn.Module] = {}
    _visit(model, "", names, found)
    once: dict[int, str] = {}
    for name, module in found.items():
        once.setdefault(id(module), name)
    return {name: module for name, module in found.items() if once[id(module)] == name}


def _visit(
    module: nn.Module, name: str, no_split: set[str], found: dict[str, nn.Module]
) -> None:
    if not size_of(module):
        return
    parts = [(n, child) for n, child in module.named_children() if size_of(child)]
    if name and _is_whole(module, parts, no_split):
        found[name] = module
        return
    for part, child in parts:
        full = f"{name}.{part}" if name else part
        if isinstance(child, nn.ModuleList) and _is_stack(child):
            for place, block in enumerate(child):
                if size_of(block):
                    found[f"{full}.{place}"] = block
        else:
            _visit(child, full, no_split, found)


def _is_whole(
    module: nn.Module, parts: list[tuple[str, nn.Module]], no_split: set[str]
) -> bool:
    own = any(parameter is not None for parameter in module._parameters.values())
    if own and not parts:
        return True
    if type(module).__name__ not in no_split:
        return False
    # A class that holds a stack of such classes is named for its own part of the model.
    return not any(
        isinstance(child, nn.ModuleList)
        and len(child) > 1
        and type(child[0]).__name__ in no_split
        for child in module.modules()
    )


def _is_stack(modules: nn.ModuleList) -> bool:
    return len(modules) > 0 and not any(
        isinstance(module, _LEAVES) or hasattr(module, "_no_split_modules")
        for module in modules
    )


def in_running_order(names: list[str]) -> list[str]:
    """Names in the order in which units probably run, where nobody has seen them run.

    U-Nets define what is in the middle last.
    """
    ordered = list(names)
    for name in names:
        head, found, _ = name.partition("mid_block")
        if not found:
            continue
        behind = [n for n in ordered if n.startswith(f"{head}up_blocks")]
        if behind and ordered.index(behind[0]) < ordered.index(name):
            ordered.remove(name)
            ordered.insert(ordered.index(behind[0]), name)
    return ordered
