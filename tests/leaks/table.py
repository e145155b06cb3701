"""The table of leak cases: which callables of the core each of them exercises."""

import sys
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Case:
    """A function that every rank calls again and again, and what it exercises."""

    function: object
    # Names as `callables` gives them.
    names: tuple[str, ...]
    size: int
    calls: int


CASES = {}


def case(*names, size=1, calls=200):
    """Enter a function of a communicator and Given into the table."""

    def enter(function):
        assert function.__name__ not in CASES
        CASES[function.__name__] = Case(function, names, size, calls)
        return function

    return enter


def callables(module):
    """Names of all that C code answers for: functions, types, methods, properties.

    Exceptions are left out: Python itself makes and answers for them.
    """
    names = set()
    for name, value in vars(module).items():
        if name.startswith("__"):
            continue
        if not isinstance(value, type):
            names.add(name)
        elif not issubclass(value, BaseException):
            members = vars(value)
            names.update(f"{name}.{member}" for member in members if _is_own(member))
            if "__new__" in members:
                names.add(name)
    return names


def _is_own(member):
    return member in ("__enter__", "__exit__") or not member.startswith("__")


class Given:
    """Values that the cases pass again and again, so that a lost reference shows."""

    def __init__(self, rank):
        self.rank = rank
        self.tensor = torch.arange(10.0) + rank
        self.strided = torch.arange(12.0).reshape(3, 4).t()
        self.large = torch.full((300_000,), float(rank))
        self.array = np.arange(10) + rank
        self.strided_array = np.arange(12.0).reshape(3, 4).T
        self.tree = {"a": [self.tensor, (self.array,)], "b": {"c": self.strided}}
        self.text = "text of some length that is nobody else's"
        self.list = [1, 2.5, self.text, None]
        self.objects = [self.tensor, self.large, self.array, self.list]
        self.numbers = list(range(10))
        self.lock = _Unpicklable()

    def references(self):
        """How many references there are to every value, by name."""
        return {name: sys.getrefcount(value) for name, value in vars(self).items()}


class _Unpicklable:
    def __reduce__(self):
        raise ValueError("not to be pickled")
