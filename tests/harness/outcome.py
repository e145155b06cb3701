"""What became of a function in one rank, and the errors that a run can end with."""

import signal
from dataclasses import dataclass


class HarnessError(Exception):
    """The harness itself failed: its server died or could not start a group."""


class RankError(Exception):
    """A function that should have returned in every rank did not."""


class RanksTimeoutError(HarnessError):
    """Not every rank was done within the deadline of the run."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended in one rank: it returned, it raised, or the process ended."""

    rank: int
    # What the function returned; None if it did not.
    value: object = None
    # The exception's type as "module.Name", or None if none was raised.
    exception_type_name: str | None = None
    # That type and its bases, so that a test can ask for a kind of error.
    exception_bases: tuple[str, ...] = ()
    message: str = ""
    traceback: str = ""
    # The process's exit code, or minus its signal; None while it lives.
    exit: int | None = None
    # How long the function took, as its own rank measured it.
    seconds: float = 0.0
    stdout: str = ""
    stderr: str = ""

    @property
    def returned(self):
        """Whether the function returned."""
        return self.exception_type_name is None and self.exit is None

    def raised(self, kind):
        """Whether the function raised `kind` or one of its subclasses."""
        return f"{kind.__module__}.{kind.__qualname__}" in self.exception_bases

    def describe(self):
        """One sentence on what happened, for the head of an error."""
        if self.exit is not None:
            return f"rank {self.rank} {describe_exit(self.exit)}"
        if self.exception_type_name is not None:
            name = self.exception_type_name.removeprefix("builtins.")
            return f"rank {self.rank} raised {name}: {self.message}"
        return f"rank {self.rank} returned"

    def report(self):
        """The sentence, then the traceback and what the rank wrote."""
        parts = [self.describe()]
        if self.traceback:
            parts.append(self.traceback.rstrip())
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                parts.append(f"--- {name} of rank {self.rank} ---\n{text.rstrip()}")
        return "\n".join(parts)


def describe_exit(code):
    """A process's end in words, from its code or minus its signal."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}"
    return f"exited with code {code}"


def report_all(outcomes, first=None):
    """Reports of all ranks; `first` leads, since the others often only follow it."""
    order = sorted(outcomes, key=lambda outcome: (outcome.rank != first, outcome.rank))
    return "\n\n".join(
        outcome.report()
        for outcome in order
        if not outcome.returned or outcome.stdout or outcome.stderr
    )
