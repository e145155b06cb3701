"""Carries a communicator's cards and bytes over torch.distributed.

The way between processes that cannot share memory: on several hosts, or in containers
apart. What an operation means, how ranks agree on it and what is an error is the core's
work, the same as over shared memory; here are only its two moves, an all-gather of
small cards and a stream of bytes, on a gloo group of our own, so that they never mix
with the script's own calls of torch.distributed.
"""

from __future__ import annotations

import ctypes
import time
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import torch
from torch import distributed

from . import _C

_GRACE = 2.0  # seconds for the others to say that they failed as well
_GLANCE = 0.05  # seconds of waiting between two looks up
_FOREVER = timedelta(days=365)  # gloo's own deadline: ours comes before it

# torch 2.13 has given it another name.
_all_gather = getattr(
    distributed, "all_gather_single", distributed.all_gather_into_tensor
)


def _broadcast_from(rank):
    return partial(distributed.broadcast, group_src=rank)


class TorchTransport:
    """One rank's side; made on all ranks of torch.distributed's group together.

    `store` is a part of a key-value store that is for this transport alone: there the
    ranks say why a group broke, once it cannot carry that itself.
    """

    def __init__(self, store: distributed.Store):
        self._store = store
        self._group = distributed.new_group(backend="gloo", timeout=_FOREVER)
        self._rank = distributed.get_rank()
        self._size = distributed.get_world_size()
        self._meeting = 0
        self._owed: Any = None  # work of a meeting that this rank excused itself from
        self._left = time.monotonic()  # when this rank left its last operation

    # ---- The two moves, called by the core ----

    def meet(self, op: str, timeout: float, card: bytes, wait: bool) -> bytes | None:
        """Everybody's card, in rank order; without `wait` only shows the own one."""
        deadline = time.monotonic() + timeout
        self._settle(op, timeout, deadline)
        self._meeting += 1
        own = torch.frombuffer(bytearray(card), dtype=torch.uint8)
        cards = torch.empty(self._size * len(card), dtype=torch.uint8)
        work = self._start(op, timeout, _all_gather, cards, own)
        if not wait:
            self._owed = work
            return None
        self._finish(op, timeout, deadline, [work])
        return cards.numpy().tobytes()

    def stream(self, op, timeout, send, sizes, recv) -> None:
        """Fills recv[q] with the sizes[q] bytes that rank q sends.

        gloo cannot be made to forget an operation: one that failed here may still read
        and write its tensors when a late rank comes. So it gets tensors of its own, and
        the caller's memory is only touched by this thread.
        """
        if not any(sizes):
            return
        deadline = time.monotonic() + timeout
        own = None if send is None else torch.frombuffer(send, dtype=torch.uint8)
        if own is not None and len(set(sizes)) == 1:
            flat = torch.empty(self._size * sizes[0], dtype=torch.uint8)
            pieces = flat.view(self._size, sizes[0])
            works = [self._start(op, timeout, _all_gather, flat, own.clone())]
        else:
            pieces = [torch.empty(size, dtype=torch.uint8) for size in sizes]
            if own is not None:
                pieces[self._rank].copy_(own)
            works = [
                self._start(op, timeout, _broadcast_from(rank), pieces[rank])
                for rank, size in enumerate(sizes)
                if size > 0
            ]
        self._finish(op, timeout, deadline, works)
        for view, piece in zip(recv, pieces, strict=True):
            if view is not None:
                torch.frombuffer(view, dtype=torch.uint8).copy_(piece)

    def abort(self, text: str) -> None:
        """Breaks the group for everybody who waits in it or comes later."""
        self._say_broken(text)
        self._drop()

    def close(self) -> None:
        """Leaves the group."""
        self._drop()

    # ---- How they are made ----

    def _start(self, op, timeout, operation, *tensors):
        """Starts an operation of torch.distributed on our group."""
        try:
            return operation(*tensors, group=self._group, async_op=True)
        except RuntimeError as error:
            self._fail(op, timeout, error)

    def _settle(self, op, timeout, deadline):
        """A meeting is over only when everybody has come, whoever excused himself."""
        # Who waited for this rank as long as its deadline has broken the group, which
        # gloo would not tell: it still has what they sent.
        late = time.monotonic() - self._left >= timeout / 2
        if self._group is None or (late and self._broken_text() is not None):
            self._fail(op, timeout, None)
        if self._owed is not None:
            self._finish(op, timeout, deadline, [self._owed])
            self._owed = None

    def _finish(self, op, timeout, deadline, works):
        """Waits for the works; Ctrl-C and the deadline end the wait."""
        for work in works:
            try:
                if not self._wait(work, deadline):
                    self._fail(op, timeout, None)
                self._left = time.monotonic()
            except RuntimeError as error:
                self._fail(op, timeout, error)
            except KeyboardInterrupt:
                self.abort(f"{op} on torch: rank {self._rank} was interrupted")
                raise

    def _wait(self, work, deadline) -> bool:
        """Whether a work came to a good end before the deadline; raises its error."""
        while True:
            left = deadline - time.monotonic()
            try:
                work.wait(timedelta(seconds=min(max(left, 0.001), _GLANCE)))
            except RuntimeError:
                # Its error, or only the end of this glance: in between signal
                # handlers run, which they cannot while torch waits.
                if work.is_completed():
                    raise
                if left <= 0.0 or self._broken_text() is not None:
                    return False
            else:
                return True

    # ---- How it fails ----

    def _fail(self, op, timeout, error):
        """Raises why the group broke, the same text on every rank that can hear it."""
        timed_out = error is None
        text = self._broken_text()
        if text is None:
            missing = self._missing()
            who = _ranks(missing) if missing else "a rank"
            how = (
                f"did not arrive within {timeout:.1f} s"
                if timed_out
                else "ended without leaving the group"
            )
            text = self._say_broken(f"{op} on torch: {who} {how}")
        self._drop()
        late = "did not arrive within" in text
        kind = _C.DistributedTimeoutError if late else _C.DistributedPeerError
        raise kind(text) from error

    def _missing(self) -> list[int]:
        """The ranks that do not say within the grace that they failed here as well."""
        others = [rank for rank in range(self._size) if rank != self._rank]
        prefix = f"failed/{self._meeting}"
        deadline = time.monotonic() + _GRACE
        pause = Event()
        try:
            self._store.set(f"{prefix}/{self._rank}", b"1")
            while others and time.monotonic() < deadline:
                others = [
                    rank
                    for rank in others
                    if not self._store.check([f"{prefix}/{rank}"])
                ]
                if others:
                    pause.wait(_GLANCE)
        except RuntimeError:
            # The store ended with its rank; that is the one we know of.
            return [0] if self._rank != 0 else []
        return others

    def _broken_text(self) -> str | None:
        try:
            if self._store.check(["broken"]):
                return self._store.get("broken").decode()
        except RuntimeError:
            pass
        return None

    def _say_broken(self, text: str) -> str:
        """Tells the others; the text that came first is the one that counts."""
        try:
            return self._store.compare_set("broken", "", text).decode()
        except RuntimeError:
            return text

    def _drop(self):
        """Ends our part of the group, which wakes whoever waits for it."""
        group, self._group = self._group, None
        if group is None or not distributed.is_initialized():
            return
        # The destructor of a group waits for operations under way, and nobody may ever
        # come to them: so one that broke is abandoned, at exit as well.
        if self._owed is not None or self._broken_text() is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))
            group.abort()
        distributed.destroy_process_group(group)


def _ranks(ranks: list[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"
