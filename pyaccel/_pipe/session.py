"""One call that all ranks make together: its inputs, its attempts and its end.

The main process' inputs count. A rank that fails ends the call on all. Where something
was new or foretold, all ranks confirm the call before anyone returns from it; then it
may be made again, with what the attempt has shown: a unit that must be asked every
time, a parameter that code between units reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from ..utils._nested import send_to_device
from .link import Absent, Link, PipelineError, Stopped
from .own import with_own, without_own
from .state import walk
from .tree import describe, put
from .unit import Mispredicted

MAIN = 0  # the rank whose inputs count


class Again(Exception):
    """An attempt cannot go on; what would let the next one."""

    def __init__(self, demand: tuple[str, str]):
        super().__init__(demand)
        self.demand = demand


class Draws:
    """Generators of random numbers, those of the process too, as they are now."""

    def __init__(self, generators: list[torch.Generator]):
        self._own = torch.get_rng_state()
        self._states = [(each, each.get_state()) for each in generators]

    def reset(self) -> None:
        """Has them draw the same numbers again."""
        torch.set_rng_state(self._own)
        for generator, state in self._states:
            generator.set_state(state)


class Inputs:
    """The arguments of a call as the main process gave them, on this rank's device."""

    def __init__(self, link: Link, args: tuple[Any, ...], kwargs: dict[str, Any]):
        told = None
        if link.rank == MAIN:
            # On their way tensors are on the host, whatever they were on.
            sent = send_to_device(without_own((args, kwargs)), "cpu")
            told = sent, torch.get_rng_state()
        told, state = link.tell(MAIN, told)
        torch.set_rng_state(state)
        own = args, kwargs
        given = own if link.rank == MAIN else with_own(told, own)
        self.args, self.kwargs = send_to_device(given, link.device)
        found = describe((self.args, self.kwargs))
        specs = tuple((t.dtype, tuple(t.shape)) for t in found.tensors)
        self.signature = (tuple(found.key), tuple(found.numbers), specs)
        self._states = [(state, _copy(state)) for state in found.states]
        self._generators = found.generators
        self._draws = self.new_draws()

    def new_draws(self) -> Draws:
        """All generators that the call draws from, as they are now."""
        return Draws(self._generators)

    def reset(self) -> None:
        """Objects that the last attempt may have changed, as they were."""
        self._draws.reset()
        for state, entries in self._states:
            for path in walk(state).keys() - entries.keys():
                if len(path) == 1:
                    del vars(state)[path[0]]
            for entry, value in entries.values():
                put(entry.container, entry.place, value)


def _copy(state: Any) -> dict[Any, Any]:
    found = {}
    for path, entry in walk(state).items():
        value = entry.value
        if entry.kind in ("list", "dict"):
            value = value.copy()
        found[path] = (entry, value)
    return found


def call(
    link: Link,
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
    body: Callable[[Inputs], Any],
    learn: Callable[[tuple[str, str]], None],
    confirmed: set[Any] | None,
) -> Any:
    """Makes a call on all ranks and returns what `body` returns.

    `learn` does what an attempt has demanded. `confirmed` has the signatures of inputs
    with which a call went well; None: every call is confirmed by all ranks.
    """
    with torch.inference_mode(False), torch.no_grad(), _counted(link):
        link.begin()
        random = torch.get_rng_state()
        given = _first(link, lambda: Inputs(link, *inputs))
        try:
            while True:
                sure = confirmed is not None and given.signature in confirmed
                demands, result = _attempt(link, lambda: body(given), sure)
                if not demands:
                    if confirmed is not None:
                        confirmed.add(given.signature)
                    return result
                link.begin()
                given.reset()
                for demand in demands:
                    learn(demand)
        finally:
            if link.rank != MAIN:
                # Numbers that others draw are their own again.
                torch.set_rng_state(random)


@contextlib.contextmanager
def _counted(link: Link):
    link.calls += 1
    try:
        yield
    finally:
        link.calls -= 1


def _first(link: Link, begin: Callable[[], Any]) -> Any:
    """What is done before the first attempt, of which errors are everybody's."""
    try:
        return begin()
    except BaseException as error:
        _end(link, error)
        raise _explained(error) from error


def _attempt(
    link: Link, body: Callable[[], Any], sure: bool
) -> tuple[list[tuple[str, str]], Any]:
    """One attempt: what it demands for the next, or nothing and its result."""
    link.unsure = not sure
    heard: dict[int, Any] = {}
    own = result = None
    try:
        result = body()
        if not link.unsure:
            return [], result
        link.settle()
    except BaseException as error:
        own, heard = _reason(link, error)
        if own[0] == "error":
            _end(link, error)
            if isinstance(error, Stopped):
                raise PipelineError(error.reason[1]) from None
            raise
    if own is not None:
        link.ended.add(link.epoch)
    link.say_final(own)
    reasons = [*link.finals(skip=heard).values(), *heard.values(), own]
    if any(reason is not None for reason in reasons):
        link.forget()
    for reason in reasons:
        if reason is not None and reason[0] == "error":
            raise PipelineError(reason[1])
    return sorted({reason[1] for reason in reasons if reason is not None}), result


def _reason(link: Link, error: BaseException) -> tuple[tuple[str, Any], dict[int, Any]]:
    """Why this rank cannot go on, and which others it has heard of."""
    demand = None
    if isinstance(error, Stopped):
        heard = {error.rank: error.reason}
        return (
            (error.reason, heard)
            if error.reason[0] == "again"
            else (
                ("error", None),
                heard,
            )
        )
    if isinstance(error, Mispredicted):
        demand = ("tell", error.unit)
    elif isinstance(error, Absent):
        demand = (f"share {error.parameter.path}", error.parameter.unit)
    elif isinstance(error, Again):
        demand = error.demand
    if demand is not None and link.unsure:
        return ("again", demand), {}
    return ("error", None), {}


def _end(link: Link, error: BaseException) -> None:
    """Tells all others that the call is over, unless that cannot be told any more."""
    link.ended.add(link.epoch)
    link.forget()
    if isinstance(error, Stopped):
        text = error.reason[1]
    else:
        where = f" in {link.failed_in}" if link.failed_in else ""
        text = (
            f"pipeline: rank {link.rank} failed{where} with {type(error).__name__}: "
            f"{error}"
        )
    with contextlib.suppress(Exception):
        link.say_final(("error", text))


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, Stopped):
        return PipelineError(error.reason[1])
    return error
