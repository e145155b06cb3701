"""Loggers that know the processes: a line once, from every process, or in turn."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from .state import PartialState

# How many frames above the logger's a caller of `warning_once` stands; before Python
# 3.11 that of `LoggerAdapter.warning` counts as well.
_ABOVE_ONCE = 3 if sys.version_info >= (3, 11) else 4


class MultiProcessAdapter(logging.LoggerAdapter):
    """A logger whose lines say their process and come from the main process alone.

    Every method that logs takes two more keywords: `main_process_only=False` logs on
    every process, and `in_order=True` on every process, one after the other, so that
    all of them must make the call. The shared state must be set up before the first
    line.
    """

    def __init__(self, logger: logging.Logger, extra: Any = None) -> None:
        super().__init__(logger, extra)
        self._warned: set[str] = set()

    @staticmethod
    def _should_log(main_process_only: bool) -> bool:
        """Whether this process logs a line."""
        return not main_process_only or PartialState().is_main_process

    def process(self, msg, kwargs):
        """The message with its process' number, and the keywords for the logger."""
        msg, kwargs = super().process(msg, kwargs)
        kwargs.setdefault("stacklevel", 2)
        return f"[RANK {PartialState().process_index}] {msg}", kwargs

    def log(self, level, msg, *args, **kwargs):
        """Logs on the processes that `main_process_only` and `in_order` choose.

        With `in_order`, `main_process_only` does not count.
        """
        if not PartialState._shared_state:
            raise RuntimeError(
                "You must initialize the accelerate state by calling either "
                "`PartialState()` or `Accelerator()` before using the logging utility."
            )
        main_process_only = kwargs.pop("main_process_only", True)
        in_order = kwargs.pop("in_order", False)
        if not in_order:
            if self.isEnabledFor(level) and self._should_log(main_process_only):
                msg, kwargs = self.process(msg, kwargs)
                self.logger.log(level, msg, *args, **kwargs)
            return
        # Every process takes every turn, also one whose level is off or whose line
        # fails: the others would wait for it.
        state, failure = PartialState(), None
        for rank in range(state.num_processes):
            if rank == state.process_index and self.isEnabledFor(level):
                try:
                    msg, kwargs = self.process(msg, kwargs)
                    self.logger.log(level, msg, *args, **kwargs)
                except Exception as error:
                    failure = error
            state.wait_for_everyone()
        if failure is not None:
            raise failure

    def warning_once(self, *args, **kwargs) -> None:
        """`warning`, but nothing when this logger warned of the same before."""
        said = repr((args, sorted(kwargs.items())))
        if said in self._warned:
            return
        self._warned.add(said)
        kwargs.setdefault("stacklevel", _ABOVE_ONCE)
        self.warning(*args, **kwargs)


def get_logger(name: str, log_level: str | None = None) -> MultiProcessAdapter:
    """The logger of that name, which logs on the main process unless told otherwise.

    `log_level`, else the variable ACCELERATE_LOG_LEVEL, sets its level and the root
    logger's: a level's name in capitals or not.
    """
    if log_level is None:
        log_level = os.environ.get("ACCELERATE_LOG_LEVEL")
    logger = logging.getLogger(name)
    if log_level is not None:
        level = log_level.upper() if isinstance(log_level, str) else log_level
        try:
            logger.setLevel(level)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Unknown level: {log_level!r}: name one of DEBUG, INFO, WARNING, "
                "ERROR and CRITICAL as log_level or in ACCELERATE_LOG_LEVEL"
            ) from error
        logger.root.setLevel(level)
    return MultiProcessAdapter(logger, {})


def _warn_first(name: str, msg: str, *args: Any) -> None:
    """Warns on the main process, and before the state is set up on every process."""
    if not PartialState._shared_state or PartialState().is_main_process:
        logging.getLogger(name).warning(msg, *args)
