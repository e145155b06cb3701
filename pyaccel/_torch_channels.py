"""Carries messages between two ranks over gloo's send and receive.

gloo moves a message once both sides have asked for it, without the help of a thread of
ours, but who waits for it can neither be interrupted nor look up: a wait of gloo's that
runs out of time ends all connections. So a thread for each peer and direction does the
waiting, and the caller waits for that one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue
from threading import Condition, Event, Thread
from typing import Any

import torch

from . import _C
from ._torch_positions import STORE_FAILED, Positions

CREDIT = 256 << 20  # bytes to one rank that it may be behind
GLANCE = 0.05  # seconds of waiting between two looks up
_FOREVER = timedelta(days=365)  # gloo's own deadline: ours comes before it
_TAG = 0x7078
_GRACE = 2.0  # seconds until a process whose connection was lost is seen to have ended
_IDLE = 0.0002  # seconds between two sends after which it costs little to ask
_ASK = 0.05  # seconds after which it is asked in any case


class _Job:
    """One message on its way, and the memory that it is read from or written to."""

    def __init__(self, work: Any, memory: torch.Tensor):
        self.work, self.memory = work, memory
        self.done = Event()
        self.error: RuntimeError | None = None


class _End:
    """One end of a channel: its thread, and what that waits for."""

    def __init__(self, name: str):
        self.pending = 0  # bytes of messages that are on their way
        self.changed = Condition()
        self.error: RuntimeError | None = None  # of any message so far
        self.refused = 0  # messages that the receiver refused, as far as known here
        self.sent_at = self.asked_at = 0.0
        self.jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Any, memory: torch.Tensor) -> _Job:
        with self.changed:
            self.pending += len(memory)
        job = _Job(work, memory)
        self.jobs.put(job)
        return job

    def end(self) -> None:
        """Ends the thread, once nothing is on its way any more."""
        self.jobs.put(None)
        self._thread.join()

    def _run(self):
        while (job := self.jobs.get()) is not None:
            try:
                job.work.wait(_FOREVER)
            except RuntimeError as error:
                job.error = error
            job.work = None  # it would keep the connections open
            with self.changed:
                self.pending -= len(job.memory)
                self.error = self.error or job.error
                self.changed.notify_all()
            job.done.set()


class Channels:
    """All channels of one rank, over a gloo group that is the transport's."""

    def __init__(self, group: Any, store: Any, positions: Positions, rank: int):
        self._group, self._store, self._rank = group, store, rank
        self._positions = positions
        self._ends: dict[tuple[str, int], _End] = {}
        self._timeout = 0.0  # of the last send

    # ---- Moving ----

    def put(self, wait: Wait, to: int, flows: list[memoryview]) -> None:
        """Sends flows to a rank, once it is not too far behind."""
        end = self._end("send", to)
        self._timeout = wait.timeout
        for flow in flows:
            with end.changed:
                while end.error is None and end.pending >= CREDIT:
                    end.changed.wait(GLANCE)
                    wait.look_up()
            if end.error is not None:
                raise end.error
            memory = torch.frombuffer(bytearray(flow), dtype=torch.uint8)
            end.start(self._group.send([memory], to, _TAG), memory)
        end.sent_at = time.monotonic()

    def take(self, wait: Wait, source: int, nbytes: int, into) -> None:
        """Fills `into` with the next flow of a rank."""
        end = self._end("recv", source)
        if into is None:
            memory = torch.empty(nbytes, dtype=torch.uint8)
        else:
            memory = torch.frombuffer(into, dtype=torch.uint8)
        wait.job = end.start(self._group.recv([memory], source, _TAG), memory)
        while not wait.job.done.wait(GLANCE):
            wait.look_up()
        if wait.job.error is not None:
            raise wait.job.error

    # ---- Refusing ----

    def refuse(self, source: int, text: str) -> None:
        """Tells a rank that a message of its was refused."""
        end = self._end("recv", source)
        self._store.set(f"refused/{source}/{self._rank}/{end.refused}", text)
        end.refused += 1

    def refused(self, to: int) -> str | None:
        """The first message that a rank has refused since the last call. The store is
        asked when little was sent lately, and every few milliseconds: its answer takes
        as long as a message."""
        end = self._end("send", to)
        now = time.monotonic()
        if now - end.sent_at < _IDLE and now - end.asked_at < _ASK:
            return None
        end.asked_at = now
        text = None
        try:
            while self._store.check(
                [key := f"refused/{self._rank}/{to}/{end.refused}"]
            ):
                text = text or self._store.get(key).decode()
                end.refused += 1
        except STORE_FAILED:
            pass  # Whoever waits for the peer notices its end.
        return text

    # ---- Ending ----

    def busy(self) -> bool:
        """Whether anything is on its way."""
        return any(end.pending > 0 for end in self._ends.values())

    def flush(self, stopped: Callable[[], bool]) -> None:
        """Waits until what was sent is received, or cannot be any more."""
        deadline = time.monotonic() + self._timeout
        for (direction, _), end in list(self._ends.items()):
            while direction == "send" and end.pending > 0 and end.error is None:
                if stopped() or time.monotonic() >= deadline:
                    return
                with end.changed:
                    end.changed.wait(GLANCE)

    def close(self) -> None:
        """Ends the threads; to be called when the connections are closed."""
        self._group = None  # the last reference keeps its connections open
        ends, self._ends = self._ends, {}
        for end in ends.values():
            end.end()

    # ---- Words ----

    def reason(self, wait: Wait, timed_out: bool) -> str:
        """Why a call failed."""
        sends = wait.op.startswith("send")
        head = f"{wait.op} {'to' if sends else 'from'} rank {wait.peer} on torch:"
        at = f" at {site}" if (site := _C.call_site()) else ""
        if timed_out:
            what = (
                f"rank {wait.peer} did not arrive within {wait.timeout:.1f} s to "
                "receive what it was sent"
                if sends
                else f"what rank {wait.peer} sends did not arrive within "
                f"{wait.timeout:.1f} s"
            )
            return f"{head} {what}{at}"
        pause = Event()
        deadline = time.monotonic() + _GRACE
        while not (gone := self._positions.gone()) and time.monotonic() < deadline:
            pause.wait(GLANCE)
        first = wait.peer if wait.peer in gone or not gone else gone[0]
        return f"{head} {self._positions.end_of(first, known=bool(gone))}{at}"

    def _end(self, direction: str, peer: int) -> _End:
        end = self._ends.get((direction, peer))
        if end is None:
            end = self._ends[direction, peer] = _End(f"pyaccel-{direction}-{peer}")
        return end


class OverError(Exception):
    """A wait is over without what it was for: in time or not."""

    def __init__(self, timed_out: bool):
        super().__init__(timed_out)
        self.timed_out = timed_out


class Wait:
    """One call: for whom, until when, and when that is to be said."""

    def __init__(  # noqa: PLR0917
        self,
        op: str,
        peer: int,
        rank: int,
        timeout: float,
        patience: float,
        broken: Callable[[], str | None],
    ):
        self.op, self.peer, self.timeout = op, peer, timeout
        self.job: _Job | None = None
        self._rank, self._patience, self._broken = rank, patience, broken
        self._began = time.monotonic()
        self._said = False

    def look_up(self) -> None:
        """Raises OverError when the group is broken, or time is over."""
        waited = time.monotonic() - self._began
        if waited >= self.timeout:
            raise OverError(True)
        if self._broken() is not None:
            raise OverError(False)
        if waited >= self._patience and not self._said:
            self._said = True
            at = f" at {site}" if (site := _C.call_site()) else ""
            print(
                f"pyaccel: rank {self._rank} has waited {int(waited)} s in {self.op} "
                f"for rank {self.peer}{at}",
                file=sys.stderr,
            )
