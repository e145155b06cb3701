"""Files of tensors, written by one process and read by any; `other` offers these."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..logging import _warn_first
from ..state import PartialState


def save(
    obj: Any, f: Any, save_on_each_node: bool = False, safe_serialization: bool = False
) -> None:
    """Writes an object to a file, on the main process alone; the others do nothing.

    `f` is a path or an open file. `save_on_each_node` lets the first process of each
    host write. `safe_serialization` writes the tensors of a dict as safetensors does,
    in place of torch.save's format.
    """
    state = PartialState()
    first = state.is_local_main_process if save_on_each_node else state.is_main_process
    if not first:
        if safe_serialization:
            # Looked at here too, so that a mistake is not the main process' alone.
            for _ in _tensors(obj):
                pass
        return
    if not safe_serialization:
        torch.save(obj, f)
        return
    from safetensors import torch as safetensors

    obj = clean_state_dict_for_safetensors(obj)
    if hasattr(f, "write"):
        f.write(safetensors.save(obj, metadata={"format": "pt"}))
    else:
        safetensors.save_file(obj, f, metadata={"format": "pt"})


def load(f: Any, map_location: Any = None, **kwargs) -> Any:
    """What `save` wrote, in either format; `f` is a path or an open file.

    The keywords are torch.load's. Unless `weights_only=False` asks for more, only
    tensors, NumPy arrays and plain containers are read, which cannot run code.
    """
    if isinstance(f, (str, os.PathLike)) and _holds_safetensors(f):
        from safetensors.torch import load_file

        if not isinstance(map_location, (str, int, torch.device, type(None))):
            raise TypeError(
                f"map_location is {map_location!r}, and {os.fspath(f)!r} is a file of "
                "safetensors: name one device"
            )
        device = "cpu" if map_location is None else map_location
        return load_file(f, device=str(torch.device(device)))
    # States of NumPy's random numbers are arrays.
    torch.serialization.add_safe_globals(_array_parts())
    return torch.load(f, map_location=map_location, **kwargs)


def clean_state_dict_for_safetensors(
    state_dict: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """A new dict of the tensors, as safetensors can write them.

    Of several names for one tensor the first stays, with a warning. Tensors that share
    only part of their memory are copied, and strided ones laid out in order.
    """
    clean: dict[str, torch.Tensor] = {}
    dropped: list[str] = []
    seen: set[tuple] = set()
    storages: set[tuple] = set()
    # Memory is known by its address, which must not go to another tensor meanwhile: a
    # mapping may make its tensors when it is asked for them.
    held: list[torch.Tensor] = []
    for name, given in _tensors(state_dict):
        tensor = given.resolve_conj().resolve_neg()
        held.append(tensor)
        storage = _storage(tensor)
        if storage is None:
            clean[name] = tensor
            continue
        place = (storage, tensor.dtype, tensor.storage_offset(), tensor.shape)
        if (*place, tensor.stride()) in seen:
            dropped.append(name)
            continue
        seen.add((*place, tensor.stride()))
        if storage in storages:
            clean[name] = tensor.clone(memory_format=torch.contiguous_format)
        else:
            clean[name] = tensor.contiguous()
        storages.add(storage)
    if dropped:
        _warn_first(
            __name__,
            "%s not written: each is another name for a tensor that is; see that your "
            "model ties them when it is loaded",
            ", ".join(dropped),
        )
    return clean


def _tensors(state_dict: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The items of a dict of tensors; refuses whatever is not one."""
    if not isinstance(state_dict, Mapping):
        raise ValueError(
            "Expected a dict of [str, torch.Tensor] but received "
            f"{type(state_dict)}: pass a model's state_dict()"
        )
    for name, tensor in state_dict.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(
                f"Key `{name}` is invalid, expected torch.Tensor but received "
                f"{type(tensor)}: leave it out"
            )
        yield name, tensor


def _storage(tensor: torch.Tensor) -> tuple | None:
    """Which memory a tensor is in; None for one that is in none of its own."""
    try:
        address = tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return None  # Sparse and other kinds, of which safetensors says what it thinks.
    return (tensor.device, address) if address else None


def _holds_safetensors(path: Any) -> bool:
    """Whether a file begins with a length and a text in braces that is so long."""
    with open(path, "rb") as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        return start[8:] == b"{" and 8 + length <= os.fstat(file.fileno()).st_size


def _array_parts() -> list[Any]:
    """What a pickled array is made of."""
    rebuild = np.zeros(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + "?efdFD"}
    return [rebuild, np.ndarray, np.dtype, codecs.encode, *kinds]
