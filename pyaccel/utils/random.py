"""Random numbers: the same seed everywhere, and one process' state for all."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from .. import _C, _group
from ..state import PartialState
from ._verification import share
from .dataclasses import RNGType

Source = tuple[Callable[[], Any], Callable[[Any], Any]]  # reads the state, writes it

_LARGEST_SEED = 2**32 - 1  # NumPy takes no larger one

# Devices that torch.manual_seed does not reach in every version of their packages.
_SEEDED_APART = ("npu", "mlu", "sdaa", "musa", "hpu", "neuron")


def set_seed(
    seed: int, device_specific: bool = False, deterministic: bool = False
) -> None:
    """Seeds Python's, NumPy's and torch's random numbers, on every device.

    `device_specific` adds the process' number, so that each draws others.
    `deterministic` makes torch use algorithms that always give the same result.
    """
    try:
        seed = operator.index(seed)
    except TypeError:
        raise TypeError(
            f"set_seed: seed is {seed!r}, not an integer: pass one from 0 to "
            f"{_LARGEST_SEED}"
        ) from None
    if device_specific:
        seed += PartialState().process_index
    if not 0 <= seed <= _LARGEST_SEED:
        raise ValueError(
            f"set_seed: the seed of this process is {seed}: pass one from 0 to "
            f"{_LARGEST_SEED}, and with device_specific so much smaller that every "
            "process' number can be added"
        )
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for name in _SEEDED_APART:
        module = getattr(torch, name, None)
        if module is not None and hasattr(module, "manual_seed_all"):
            module.manual_seed_all(seed)
    if deterministic:
        torch.use_deterministic_algorithms(True)


def synchronize_rng_state(
    rng_type: RNGType | str | None = None, generator: torch.Generator | None = None
) -> None:
    """Gives all processes the main process' state of one source of random numbers.

    `generator` is the source when `rng_type` is "generator".
    """
    if rng_type is None:
        raise ValueError(
            f"synchronize_rng_state: rng_type is None: name one of {RNGType.list()}"
        )
    synchronize_rng_states([rng_type], generator=generator)


def synchronize_rng_states(
    rng_types: list[str | RNGType], generator: torch.Generator | None = None
) -> None:
    """Gives all processes the main process' state of several sources, in one exchange.

    `generator` is the source that "generator" among `rng_types` names. A process that
    lacks a source, or names others than the main process, is an error of all.
    """
    state = PartialState()
    comm = _group.comm
    if comm is None:
        _sources(rng_types, generator)
        return
    sources, states, refused = [], None, None
    try:
        sources = _sources(rng_types, generator)
        if state.is_main_process:
            states = [get() for get, _ in sources]
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        refused = error
    names = None if refused else [str(RNGType(kind)) for kind in rng_types]
    reports = share(comm, "synchronize_rng_states", (names, states), refused)
    for rank, (theirs, _) in enumerate(reports):
        if theirs != reports[0][0]:
            raise _C.DistributedOperationException(
                f"synchronize_rng_states: rank {rank} could not take part: it names "
                f"{theirs}, and the main process {reports[0][0]}"
            )
    if not state.is_main_process:
        for (_, put), received in zip(sources, reports[0][1], strict=True):
            put(received)


def _sources(
    rng_types: Iterable[str | RNGType], generator: torch.Generator | None
) -> list[Source]:
    """How to read and how to write the state of each source; nothing is changed yet."""
    if isinstance(rng_types, (str, RNGType)):
        raise TypeError(
            f"synchronize_rng_states: rng_types is {rng_types!r}, not a list: write "
            f"[{rng_types!r}]"
        )
    return [_source(kind, generator) for kind in rng_types]


def _source(kind: str | RNGType, generator: torch.Generator | None) -> Source:
    if kind not in RNGType:
        raise ValueError(
            f"{kind!r} is not a valid RNGType: name one of {RNGType.list()}"
        )
    kind = RNGType(kind)
    if kind is RNGType.TORCH:
        return torch.get_rng_state, torch.set_rng_state
    if kind is RNGType.NUMPY:
        return np.random.get_state, np.random.set_state
    if kind is RNGType.PYTHON:
        return random.getstate, random.setstate
    if kind is RNGType.GENERATOR:
        if generator is None:
            raise AssertionError(
                "Need a generator to synchronize its seed: pass generator= with "
                "'generator'"
            )
        return generator.get_state, generator.set_state
    name = str(kind)
    module = None if kind is RNGType.XLA else getattr(torch, name, None)
    if module is None or not module.is_available():
        raise AssertionError(
            f"Can't synchronize {name.upper()} seeds on an environment without a "
            f"device of that kind: leave '{name}' out of rng_types"
        )
    return module.get_rng_state, module.set_rng_state
