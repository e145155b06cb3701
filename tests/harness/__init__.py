"""Runs functions in groups of processes, and scripts under launchers, for tests.

`tests/README.md` shows how a test is written with it. It knows pyaccel only by the
environment that pyaccel's launcher gives to its workers, and nothing of our own tests.
"""

from ._here import here
from .client import Ranks
from .fresh import Fresh
from .outcome import HarnessError, Outcome, RankError, RanksTimeoutError
from .plugin import SIZES, every_size
from .processes import Finished, Running

__all__ = [
    "SIZES",
    "Finished",
    "Fresh",
    "HarnessError",
    "Outcome",
    "RankError",
    "Ranks",
    "RanksTimeoutError",
    "Running",
    "every_size",
    "here",
]
