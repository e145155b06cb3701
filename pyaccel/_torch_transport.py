"""Carries a communicator's cards and bytes over torch.distributed.

The way between processes that cannot share memory: on several hosts, or in containers
apart. What an operation means, how ranks agree on it and what is an error is the core's
work, the same as over shared memory; here are only its two moves, an exchange of small
blocks and a stream of bytes, on a gloo group of our own, so that they never mix with
the script's own calls of torch.distributed.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from datetime import timedelta
from threading import Event
from typing import Any

import torch
from torch import distributed
from torch.distributed.distributed_c10d import AllToAllOptions, BroadcastOptions

from . import _C
from ._torch_channels import Channels, OverError, Wait
from ._torch_positions import STORE_FAILED, Positions

_GRACE = 2.0  # seconds for the others to say that they failed as well
_GLANCE = 0.05  # seconds of waiting between two looks up
_SHORT = 0.2  # seconds for the others to say that they wait as well
_FOREVER = timedelta(days=365)  # gloo's own deadline: ours comes before it
_LOST = "the connection of two ranks was lost"
_NOBODYS_TAG = 0x7077  # of a message that no rank ever sends


def _bytes_of(buffer) -> torch.Tensor:
    """A tensor over a writable buffer."""
    return torch.frombuffer(buffer, dtype=torch.uint8)


class _Scratch:
    """Memory for blocks of certain lengths, kept as long as the lengths stay."""

    def __init__(self, rank: int, sizes: list[int]):
        self.sizes = sizes
        # To each of the others the same block; none to the own rank.
        self.counts_out = [0 if q == rank else sizes[rank] for q in range(len(sizes))]
        self.counts_in = [0 if q == rank else size for q, size in enumerate(sizes)]
        self.blocks_out = bytearray(sum(self.counts_out))
        self.blocks_in = bytearray(sum(self.counts_in))
        self.tensor_out = _bytes_of(self.blocks_out)
        self.tensor_in = _bytes_of(self.blocks_in)

    def fill(self, card: bytes, ahead: memoryview | None) -> None:
        """Writes the own block as often as it is sent."""
        view = memoryview(self.blocks_out)
        ncard = len(card)
        for start in range(0, len(view), max(self.counts_out)):
            view[start : start + ncard] = card
            if ahead is not None:
                view[start + ncard : start + ncard + len(ahead)] = ahead


class _Watch:
    """One wait: for what, since when, until when, and when that is to be said."""

    __slots__ = ("began", "deadline", "op", "patience")

    def __init__(self, op: str, timeout: float, patience: float):
        self.op = op
        self.began = time.monotonic()
        self.deadline = self.began + timeout
        self.patience = patience


class TorchTransport:
    """One rank's side; made on all ranks of torch.distributed's group together.

    `store` is a part of a key-value store, torch's or ours, that is for this transport
    alone: there the ranks say why a group broke, once it cannot carry that itself.
    """

    def __init__(self, store: Any):
        self._store = store
        self._group = distributed.new_group(backend="gloo", timeout=_FOREVER)
        self._rank = distributed.get_rank()
        self._size = distributed.get_world_size()
        self._positions = Positions(store, self._rank, self._size)
        self._channels = Channels(self._group, store, self._positions, self._rank)
        self._warned = 0  # number of the last operation of which a wait was said
        self._scratch = _Scratch(self._rank, [1] * self._size)
        self._works: list[Any] = []  # operations of torch that are not over
        self._left = time.monotonic()  # when this rank left its last operation

    # ---- The two moves, called by the core ----

    def show(self, op, timeout, card: bytes, ahead, sizes: list[int]) -> None:
        """Starts to send the own block to all others and to get theirs."""
        self._check_whole(op, timeout)
        self._positions.enter(op)
        if sizes != self._scratch.sizes:
            self._scratch = _Scratch(self._rank, sizes)
        scratch = self._scratch
        scratch.fill(card, ahead)
        self._start(
            op,
            timeout,
            "alltoall_base",
            scratch.tensor_in,
            scratch.tensor_out,
            scratch.counts_in,
            scratch.counts_out,
            AllToAllOptions(),
        )

    def cards(self, op: str, timeout: float, patience: float) -> bytearray:
        """The others' blocks, in rank order."""
        self._check_whole(op, timeout)
        self._finish(op, timeout, patience)
        return self._scratch.blocks_in

    def stream(self, op, timeout, patience, send, sizes, recv) -> None:  # noqa: PLR0917
        """Fills recv[q] with the sizes[q] bytes that rank q sends."""
        self._check_whole(op, timeout)
        self._positions.go_on()
        for rank, size in enumerate(sizes):
            if size == 0:
                continue
            if rank == self._rank:
                piece = _bytes_of(send)
            elif recv[rank] is not None:
                piece = _bytes_of(recv[rank])
            else:
                piece = torch.empty(size, dtype=torch.uint8)
            options = BroadcastOptions()
            options.rootRank = rank
            self._start(op, timeout, "broadcast", [piece], options)
        if recv[self._rank] is not None:
            recv[self._rank][:] = send
        self._finish(op, timeout, patience)

    # ---- Messages between two ranks, called by the core ----

    def put(self, op, timeout, patience, to, flows) -> None:
        """Sends flows to one rank; their memory is the caller's again at return."""
        wait = Wait(op, to, self._rank, timeout, patience, self._broken_text)
        self._message(wait, lambda: self._channels.put(wait, to, flows))

    def take(self, op, timeout, patience, source, nbytes, into) -> None:  # noqa: PLR0917
        """Fills `into` with the next flow of one rank."""
        wait = Wait(op, source, self._rank, timeout, patience, self._broken_text)
        self._message(wait, lambda: self._channels.take(wait, source, nbytes, into))

    def refuse(self, source: int, text: str) -> None:
        """Tells a rank that a message of its was refused."""
        self._channels.refuse(source, text)

    def refused(self, to: int) -> str | None:
        """What that rank has refused since the last call."""
        return self._channels.refused(to)

    # ---- Ending ----

    def abort(self, text: str) -> None:
        """Breaks the group for everybody who waits in it or comes later."""
        self._say_broken(text)
        self._drop()

    def broken(self) -> str | None:
        """Why the group is broken, if some rank has said so."""
        return self._broken_text()

    def close(self, ending: bool) -> None:
        """Leaves the group; `ending`: as this process is about to end."""
        if self._group is not None:
            self._channels.flush(lambda: self._broken_text() is not None)
            self._positions.leave(ending)
        self._drop()

    # ---- How they are made ----

    def _check_whole(self, op, timeout):
        # Who waited for this rank as long as its deadline has broken the group, which
        # gloo would not tell: it still has what they sent.
        late = time.monotonic() - self._left >= timeout / 2
        if self._group is None or (late and self._broken_text() is not None):
            self._fail(op, timeout, None)

    def _start(self, op, timeout, operation, *arguments):
        """Starts an operation of our group by its method.

        torch's functions of the same purpose take 20 µs more, as much again.
        """
        try:
            work = getattr(self._group, operation)(*arguments)
        except RuntimeError as error:
            self._fail(op, timeout, error)
        self._works.append(work)

    def _finish(self, op, timeout, patience):
        """Waits for what was started; Ctrl-C and the deadline end the wait."""
        watch = _Watch(op, timeout, patience)
        try:
            for work in self._works:
                if not self._wait(work, watch):
                    self._fail(op, timeout, None)
        except RuntimeError as error:
            self._fail(op, timeout, error)
        except KeyboardInterrupt:
            self.abort(f"{op} on torch: rank {self._rank} was interrupted")
            raise
        self._works.clear()
        self._left = time.monotonic()

    def _wait(self, work, watch) -> bool:
        """Whether a work came to a good end before the deadline; raises its error."""
        while True:
            left = watch.deadline - time.monotonic()
            try:
                work.wait(timedelta(seconds=min(max(left, 0.001), _GLANCE)))
            except RuntimeError:
                # Its error, or only the end of this glance: in between signal
                # handlers run, which they cannot while torch waits.
                if work.is_completed():
                    # It may have ended well since the glance was over.
                    work.wait(_FOREVER)
                    return True
                if left <= 0.0 or self._broken_text() is not None:
                    return False
                self._say_waiting(watch)
            else:
                return True

    def _say_waiting(self, watch):
        """Tells the others at once that this rank waits, and the user once for whom."""
        self._positions.tell()
        waited = time.monotonic() - watch.began
        if waited >= watch.patience and self._warned != self._positions.operation:
            self._warned = self._positions.operation
            text = self._positions.long(watch.op, waited)
            print(f"pyaccel: {text}", file=sys.stderr)

    def _message(self, wait, move):
        """Makes one move of a message; Ctrl-C and the deadline end its wait."""
        error = timed_out = None
        try:
            if self._group is not None:
                move()
                return
        except OverError as over:
            timed_out = over.timed_out
        except RuntimeError as failure:
            error = failure
        except KeyboardInterrupt:
            self.abort(f"{wait.op} on torch: rank {self._rank} was interrupted")
            self._leave_memory(wait)
            raise
        text = self._broken_text()
        if text is None:
            text = self._say_broken(self._channels.reason(wait, bool(timed_out)))
        self._drop()
        self._leave_memory(wait)
        self._raise(text, error)

    @staticmethod
    def _leave_memory(wait):
        """Waits until nobody writes to the memory of a wait any more; the connections
        are being closed."""
        if wait.job is not None:
            wait.job.done.wait()

    # ---- How it fails ----

    def _fail(self, op, timeout, error):
        """Raises why the group broke, the same text on every rank that can hear it."""
        text = self._broken_text()
        if text is None:
            text = self._say_broken(self._reason(op, timeout, timed_out=error is None))
        self._drop()
        self._raise(text, error)

    @staticmethod
    def _raise(text, error):
        late = "did not arrive within" in text
        kind = _C.DistributedTimeoutError if late else _C.DistributedPeerError
        raise kind(text) from error

    def _reason(self, op, timeout, timed_out) -> str:
        """Who did not come, or has ended or left."""
        positions = self._positions
        positions.tell()
        missing = self._missing(_SHORT if timed_out else _GRACE)
        gone = positions.gone()
        if gone or not timed_out:
            away = gone or positions.maybe_gone(missing)
            # All others failed as well: one connection alone was lost.
            return positions.ended(op, away) if away else f"{op} on torch: {_LOST}"
        return positions.late(op, timeout, missing)

    def _missing(self, grace) -> list[int]:
        """The ranks that do not say within the grace that they wait or fail here as
        well; sooner if one of them is known to have ended."""
        pause = Event()
        deadline = time.monotonic() + grace
        while missing := self._positions.missing():
            if self._positions.gone() or time.monotonic() >= deadline:
                break
            pause.wait(_GLANCE)
        return missing

    def _broken_text(self) -> str | None:
        try:
            if self._store.check(["broken"]):
                return self._store.get("broken").decode()
        except STORE_FAILED:
            pass
        return None

    def _say_broken(self, text: str) -> str:
        """Tells the others; the text that came first is the one that counts."""
        try:
            return self._store.compare_set("broken", "", text).decode()
        except STORE_FAILED:
            return text

    def _drop(self):
        """Ends our part of the group, which wakes whoever waits for it."""
        group, self._group = self._group, None
        if group is None or not distributed.is_initialized():
            return
        if self._works or self._channels.busy() or self._broken_text() is not None:
            self._forget(group)
        self._channels.close()
        distributed.destroy_process_group(group)

    def _forget(self, group):
        """Has gloo forget what it was to do, so that nobody's memory is touched later.

        An operation that has begun cannot be taken back, and it reads and writes the
        caller's memory when a late rank comes. But a receive whose time is over makes
        gloo close all connections of the group, and all its operations end with that.
        """
        peer = 1 if self._rank == 0 else 0
        nothing = torch.empty(1, dtype=torch.uint8)
        with suppress(RuntimeError):  # That is how it ends.
            group.recv([nothing], peer, _NOBODYS_TAG).wait(timedelta(milliseconds=1))
        works, self._works = self._works, []
        for work in works:
            with suppress(RuntimeError):  # It could not end well.
                work.wait(_FOREVER)
