"""Several loops of one model, each in a thread of which one runs at a time.

A loop hands the baton on when it waits for a value of another rank; by then what it
waits for is on its way. Who is next follows from who is not done, so every rank runs
the loops in the same order.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch


class _Ended(BaseException):
    """Another loop failed; this one has nothing to go on for."""


class Baton:
    """Runs functions by turns; `give_way` is called in them."""

    def __init__(self, count: int):
        self._alive = [True] * count
        self._turn = 0
        self._failed: BaseException | None = None
        self._changed = threading.Condition()
        self._own = threading.local()

    def run(self, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        """The functions' results; raises what the first of them raised."""
        results: list[Any] = [None] * len(jobs)
        settings = _Settings()

        def loop(place: int) -> None:
            self._own.place = place
            try:
                self._await(place)
                with settings.applied():
                    results[place] = jobs[place]()
            except _Ended:
                pass
            except BaseException as error:
                self._fail(error)
            finally:
                self._leave(place)

        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(loop, place),
                name=f"pyaccel chunk {place}",
            )
            for place in range(len(jobs))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:
            # Ctrl-C comes to the main thread, which only waits here.
            self._fail(error)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._failed is not None:
            raise self._failed
        return results

    def give_way(self) -> None:
        """Lets the next loop run, and comes back when it is this one's turn again."""
        place = getattr(self._own, "place", None)
        if place is None:
            return
        with self._changed:
            self._turn = self._next(place)
            self._changed.notify_all()
        self._await(place)

    def _await(self, place: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == place or self._failed)
        if self._failed is not None:
            raise _Ended

    def _next(self, place: int) -> int:
        count = len(self._alive)
        others = (other % count for other in range(place + 1, place + count + 1))
        return next((other for other in others if self._alive[other]), place)

    def _leave(self, place: int) -> None:
        with self._changed:
            self._alive[place] = False
            if self._turn == place:
                self._turn = self._next(place)
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failed = self._failed or error
            self._changed.notify_all()


class _Settings:
    """What torch keeps for each thread, as it is in the thread that makes this."""

    def __init__(self) -> None:
        self._grad = torch.is_grad_enabled()
        self._threads = torch.get_num_threads()
        self._autocast = [
            (kind, torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled())
            for kind in ("cpu", "cuda")
            if torch.is_autocast_enabled(kind)
        ]
        self._device = (
            torch.cuda.current_device() if torch.cuda.is_initialized() else None
        )
        self._stream = torch.cuda.current_stream() if self._device is not None else None

    def applied(self):
        """A context in which the calling thread has these settings."""
        from contextlib import ExitStack

        stack = ExitStack()
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        stack.enter_context(torch.set_grad_enabled(self._grad))
        for kind, dtype, cached in self._autocast:
            stack.enter_context(torch.autocast(kind, dtype=dtype, cache_enabled=cached))
        if self._device is not None:
            torch.cuda.set_device(self._device)
            stack.enter_context(torch.cuda.stream(self._stream))
        return stack
