"""Who waits where, over a store: for ranks that share no memory.

    who/R     the machine, process and host of rank R
    waits/R   the step, and the line of the script, in which R waits or last waited long
    left/R    how R left the group

A step is one exchange or one stream; all ranks make the same ones. Nothing is written
for a step that does not last, so it follows from the own steps what rank R did last.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from . import _C, _store

# What a store raises that has ended or does not answer in time: torch's, and ours.
STORE_FAILED = (RuntimeError, _C.DistributedOperationException)
_COMPARING = "comparing what the ranks called"  # within an operation, not one itself


class Positions:
    """One rank's view of where all ranks are."""

    def __init__(self, store: Any, rank: int, size: int):
        self.step = 0
        self._store, self._rank, self._size = store, rank, size
        self._op = ""
        self.operation = 0  # number of the operation that this rank is in
        self._entered = 0  # the step in which it began
        self._before = ("", 0, 0)  # the same three of the exchange before
        self._streams = False
        self._told = 0  # the last step of which the others heard that this rank waits
        self._site = ""
        self._known: dict[int, tuple[str, int, str]] = {}  # who the ranks are
        self._lost = False  # the store has ended
        self._here = f"{_store.boot_id()} {os.readlink('/proc/self/ns/pid')}"
        own = [self._here, os.getpid(), socket.gethostname()]
        store.set(f"who/{rank}", json.dumps(own))

    # ---- What this rank does ----

    def enter(self, op: str) -> None:
        """This rank shows a card."""
        self._before = (self._op, self.operation, self._entered)
        self.step += 1
        if self.step > 1 and not self._known:
            self._who(0)  # The store may end with its rank: nobody could be asked then.
        self._op, self._entered, self._streams = op, self.step, False
        self.operation += op != _COMPARING

    def go_on(self) -> None:
        """This rank streams in the operation that it has entered."""
        self.step += 1
        self._streams = True

    def tell(self) -> None:
        """This rank waits in its step: says so once, and where."""
        if self._told != self.step:
            self._told, self._site = self.step, _C.call_site()
            self._set(f"waits/{self._rank}", json.dumps([self.step, self._site]))
            for rank in range(self._size):
                self._who(rank)  # while there is a store to ask

    def leave(self, ending: bool) -> None:
        """This rank leaves the group."""
        how = "ended" if ending else "has left the group"
        self._set(f"left/{self._rank}", how)

    # ---- Where the others are ----

    def missing(self) -> list[int]:
        """The ranks that have not said that they wait in this step."""
        others = [rank for rank in range(self._size) if rank != self._rank]
        return [rank for rank in others if self._waits(rank)[0] != self.step]

    def gone(self) -> list[int]:
        """The ranks that have ended or left, as far as can be known from here; first
        those that did not say so."""
        ended, left = [], []
        for rank in range(self._size):
            if rank != self._rank and self._how_left(rank) is not None:
                left.append(rank)
            elif self._runs(rank) is False:
                ended.append(rank)
        if self._lost and self._rank != 0 and not ended and self._runs(0) is None:
            ended = [0]  # The store ended with its rank; that is the one we know of.
        return ended + left

    def maybe_gone(self, ranks: list[int]) -> list[int]:
        """Those of the ranks that are not known to be running."""
        return [rank for rank in ranks if not self._runs(rank)] or ranks

    def late(self, op: str, timeout: float, missing: list[int]) -> str:
        """That these ranks did not come in time, and where all are."""
        who = ranks_in_words(missing) if missing else "a rank"
        text = f"{op} on torch: {who} did not arrive within {timeout:.1f} s"
        if missing and not self._streams:
            came = [rank for rank in range(self._size) if rank not in missing]
            text += f"; only {ranks_in_words(came)} entered it"
        return text + self._lines(missing)

    def ended(self, op: str, ranks: list[int]) -> str:
        """How ranks ended or left, and what they did not enter or were in."""
        first, *more = ranks
        how = self._how_left(first) or "ended without leaving the group,"
        where = "in the middle of" if self._streams else "without entering"
        site = _at(_C.call_site())
        text = (
            f"{op} on torch: {self._name(first)} {how} {where} {op} "
            f"(operation {self.operation}){site}"
        )
        if not self._streams:
            text += f"; {self._last(first)}"
        return text + (f"; or it was {ranks_in_words(more)}" if more else "")

    def end_of(self, rank: int, known: bool) -> str:
        """How a rank ended or left, or that nothing but a connection is known of."""
        if not known:
            return f"the connection to {self._name(rank)} was lost"
        how = self._how_left(rank) or "ended without leaving the group"
        return f"{self._name(rank)} {how}"

    def long(self, op: str, waited: float) -> str:
        """For whom this rank has waited so many seconds, and where all are."""
        missing = self.missing()
        who = ranks_in_words(missing) if missing else "the others"
        head = f"rank {self._rank} has waited {int(waited)} s in {op} for {who}"
        return head + self._lines(missing)

    # ---- Words ----

    def _lines(self, missing: list[int]) -> str:
        present = [rank for rank in range(self._size) if rank not in missing]
        lines = [f"\n  - rank {rank}: {self._line(rank, missing)}" for rank in missing]
        lines += [f"\n  - rank {rank}: {self._line(rank, missing)}" for rank in present]
        return ":" + "".join(lines)

    def _line(self, rank: int, missing: list[int]) -> str:
        now = f"{self._op} (operation {self.operation})"
        if rank == self._rank:
            return f"waits in {now}{_at(self._site or _C.call_site())}"
        if rank not in missing:
            return f"waits in {now}{_at(self._waits(rank)[1])}"
        if self._streams:
            return f"is in {now} and does not go on"
        return f"has not come; {self._last(rank)}"

    def _last(self, rank: int) -> str:
        op, number, entered = self._before
        if number == 0:
            return "it has not called an operation yet"
        step, site = self._waits(rank)
        known = entered <= step < self._entered
        return f"it was last in {op} (operation {number}){_at(site if known else '')}"

    def _name(self, rank: int) -> str:
        _, pid, host = self._who(rank)
        return f"rank {rank}" + (f" (pid {pid} on host {host})" if pid else "")

    # ---- The store ----

    def _set(self, key: str, text: str) -> None:
        try:
            self._store.set(key, text)
        except STORE_FAILED:
            self._lost = True

    def _get(self, key: str) -> str | None:
        """What stands there, None if nothing does or the store has ended."""
        try:
            if self._store.check([key]):
                return self._store.get(key).decode()
        except STORE_FAILED:
            self._lost = True
        return None

    def _waits(self, rank: int) -> tuple[int, str]:
        text = self._get(f"waits/{rank}")
        return (0, "") if text is None else tuple(json.loads(text))

    def _who(self, rank: int) -> tuple[str, int, str]:
        if rank not in self._known:
            text = self._get(f"who/{rank}")
            if text is None:
                return ("", 0, "")
            where, pid, host = json.loads(text)
            self._known[rank] = (where, pid, host)
        return self._known[rank]

    def _how_left(self, rank: int) -> str | None:
        return self._get(f"left/{rank}")

    def _runs(self, rank: int) -> bool | None:
        """Whether a rank's process runs; None where that cannot be seen from here."""
        where, pid, _ = self._who(rank)
        return _store.runs(pid) if where == self._here else None


def ranks_in_words(ranks: list[int]) -> str:
    """rank 1, or ranks 1, 2 and 5."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def _at(site: str) -> str:
    return f" at {site}" if site else ""
