"""What moves between ranks during calls, in the same order on every rank.

A transfer is decided by every rank from what all of them know, and numbered by a digest
of everything that happened before it in the call; sender and receiver compare theirs.
Sends do not wait. Receives are taken when their tensor is needed, in order, so that a
rank goes on for as long as it can.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from typing import Any
from weakref import WeakValueDictionary
from zlib import crc32

import torch

from . import glue
from .channel import DATA, FINAL, TOLD, Channels, Message
from .rules import Undo
from .spec import Spec
from .tracked import GlueError, Parameter, Tracked, last_of, real
from .tree import rebuild

_PRIME = 1099511628211
_MASK = (1 << 63) - 1


class PipelineError(RuntimeError):
    """A call of a prepared model failed on another rank, or ranks went apart."""


class PipelineDivergenceError(PipelineError):
    """Ranks of one call did different things."""


class Stopped(Exception):
    """Another rank has ended the call: its rank, and its reason (see `session`)."""

    def __init__(self, rank: int, reason: Any):
        super().__init__(rank, reason)
        self.rank = rank
        self.reason = reason


class Absent(Exception):
    """Code between units read a parameter that stands on its unit's owner alone."""

    def __init__(self, parameter: Parameter):
        super().__init__(str(parameter))
        self.parameter = parameter


class Pending:
    """A message that is on its way: `take` waits for it, and for those before it."""

    __slots__ = ("digest", "done", "link", "place", "result", "source", "spec")

    def __init__(self, link: Link, source: int, spec: Spec | None):
        self.link = link
        self.source = source
        self.spec = spec  # None: an object that the source tells
        self.digest = link.digest
        self.place = link.place
        self.done = False
        self.result: Any = None

    def take(self) -> Any:
        """The tensor, or what was told."""
        queue = self.link.awaited[self.source]
        while not self.done:
            queue[0].receive()
            queue.popleft()
        return self.result

    def receive(self) -> None:
        """Takes the next message of the source, which is this one."""
        message = self.link.next_message(self.source)
        expected = TOLD if self.spec is None else DATA
        if message.kind != expected or message.digest != self.digest:
            raise PipelineDivergenceError(
                f"ranks {self.source} and {self.link.rank} did different things in one "
                f"call: rank {self.source} is at {message.place}, rank "
                f"{self.link.rank} at {self.place}; a model must do the same on every "
                "rank, so look there for unseeded random numbers, clocks, the order "
                "of sets, or code that asks for the rank"
            )
        # A tensor comes with the strides that it had, unless those had gaps: kernels
        # choose their way by them.
        self.result = message.body
        self.done = True


class Link:
    """This process' side of all pipelines of its group."""

    def __init__(self, channels: Channels, device: torch.device):
        self.channels = channels
        self.rank = channels.rank
        self.size = channels.size
        self.device = device
        self.everyone = (1 << self.size) - 1
        self.epoch = 0  # attempts of calls so far
        self.digest = 0
        self.place = "the start of a call"
        # The unit that runs here now: in it, tensors are what they are.
        self.unit: str | None = None
        self.failed_in: str | None = None  # the unit that raised
        self.awaited: list[deque[Pending]] = [deque() for _ in range(self.size)]
        # Epochs that this rank itself ended early: what others say of them is stale.
        self.ended: set[int] = set()
        self.calls = 0  # of `generate` or a model, one within another
        # Whether small results that decide go to all at once, as in `generate`.
        self.deciding = False
        # Lets another chunk run while this one waits for a value.
        self.give_way: Callable[[], None] | None = None
        # Whether something in this attempt is not certain: then all confirm it.
        self.unsure = False
        self.counts: Counter[str] = Counter()
        # Units and models that are alive, by their names: an attempt may demand
        # something of them, which their method `demanded` does.
        self.learners: WeakValueDictionary[str, Any] = WeakValueDictionary()
        # Takes back what units have learned in this attempt, in this order.
        self.learned: Undo = []
        self.kept = 0  # objects that stand for caches, made so far
        self.specs: dict[Any, Any] = {}  # of results of operations between units

    # ---- The order of things ----

    def begin(self) -> None:
        """A new attempt of a call; what was awaited in the last one is not any more."""
        self.epoch += 1
        self.digest = self.epoch
        self.place = "the start of a call"
        self.unit = None
        self.failed_in = None
        self.unsure = False
        self.learned = []
        for queue in self.awaited:
            queue.clear()

    def forget(self) -> None:
        """Takes back what was learned in an attempt that did not come to its end."""
        while self.learned:
            self.learned.pop()()

    def step(self, code: int, place: str) -> None:
        """Takes something that all ranks do into the digest."""
        self.digest = (self.digest * _PRIME ^ code) & _MASK
        self.place = place

    # ---- Tensors ----

    def _move(self, tracked: Tracked, source: int, to: int) -> None:
        """Sends a placeholder's bytes to a rank that has not got them."""
        self.step(source * 64 + to, self.place)
        self.counts["messages"] += 1
        if self.rank == source:
            self._send(to, DATA, real(tracked))
        elif self.rank == to:
            tracked.value = self._await(source, tracked.spec)
        tracked.holders |= 1 << to

    def need(self, tracked: Tracked, rank: int) -> None:
        """Has a placeholder's bytes on a rank."""
        if not tracked.holders >> rank & 1:
            self.check_present(tracked)
            self._move(tracked, last_of(tracked.holders), rank)

    def replicate(self, tracked: Tracked) -> torch.Tensor:
        """A placeholder's tensor, on every rank; another chunk may run meanwhile."""
        self.wait_for([tracked])
        return real(tracked)

    def wait_for(self, tracked: Sequence[Tracked]) -> None:
        """Has placeholders' bytes on every rank; another chunk may run meanwhile."""
        # All before the wait.
        sent = [self.spread(each) for each in tracked]
        if True in sent and self.give_way is not None:
            # What this chunk waits for is on its way by now.
            self.give_way()

    def spread(self, tracked: Tracked) -> bool:
        """Sends a placeholder's bytes to all ranks; whether that was necessary."""
        self.check_present(tracked)
        if tracked.holders == self.everyone:
            return False
        self.counts["replications"] += 1
        # All from one, so that nobody waits in order to pass it on.
        source = last_of(tracked.holders)
        for rank in range(self.size):
            if not tracked.holders >> rank & 1:
                self._move(tracked, source, rank)
        return True

    def check_present(self, tracked: Tracked) -> None:
        """Raises for a parameter that only its owner has."""
        if tracked.absent is not None:
            raise Absent(tracked.absent)

    # ---- Objects ----

    def tell(self, owner: int, value: Any) -> Any:
        """What the owner says to all, on every rank; `value` counts there alone."""
        self.step(owner, self.place)
        if self.rank != owner:
            return self._await(owner, None).take()
        for rank in range(self.size):
            if rank != owner:
                self._send(rank, TOLD, value)
        return value

    def say_final(self, reason: Any) -> None:
        """Tells all others how this attempt ended here: None is well."""
        for rank in range(self.size):
            if rank != self.rank:
                self._send(rank, FINAL, reason)

    def settle(self) -> None:
        """Takes everything that is on its way to this rank."""
        for queue in self.awaited:
            while queue:
                queue[0].receive()
                queue.popleft()

    def finals(self, skip: Collection[int]) -> dict[int, Any]:
        """How the attempt ended on each of the others; waits for all of them."""
        found = {}
        for rank in range(self.size):
            if rank != self.rank and rank not in skip:
                message = self._of_epoch(rank)
                while message.kind != FINAL:
                    message = self._of_epoch(rank)
                found[rank] = message.body
        return found

    # ---- Messages ----

    def next_message(self, source: int) -> Message:
        """The next message of the call from a rank; raises if the rank ended it."""
        message = self._of_epoch(source)
        if message.kind == FINAL:
            raise Stopped(source, message.body)
        return message

    def _of_epoch(self, source: int) -> Message:
        while True:
            message = self.channels.receive(source, self.device)
            # What is left of earlier calls is passed by, but that one failed in which
            # this rank has returned already.
            failed = message.kind == FINAL and message.body is not None
            if message.epoch >= self.epoch or (
                failed and message.epoch not in self.ended
            ):
                return message

    def _send(self, to: int, kind: int, body: Any) -> None:
        place = f"{self.place} (step {self.digest:x})"
        self.channels.send(to, Message(kind, self.epoch, self.digest, place, body))

    def _await(self, source: int, spec: Spec | None) -> Pending:
        pending = Pending(self, source, spec)
        self.awaited[source].append(pending)
        return pending

    # ---- Operations between units ----

    def glue(self, func, args, kwargs):
        """An operation that has placeholders among its arguments."""
        if self.unit is not None:
            return self._within_unit(func, args, kwargs)
        return glue.run(self, func, args, kwargs)

    def _within_unit(self, func, args, kwargs):
        """An operation of a unit's own code on its owner: the bytes must be here."""

        def own(tensor):
            value = real(tensor)
            if value is None:
                raise GlueError(
                    f"{self.unit} reads {tensor.absent or tensor!r}, which stands on "
                    "another rank: name the module that holds both in "
                    "no_split_module_classes"
                )
            return value

        return func(*rebuild(args, own), **rebuild(kwargs, own))


def code_of(text: str) -> int:
    """A number for a text that is the same in every process."""
    return crc32(text.encode())
