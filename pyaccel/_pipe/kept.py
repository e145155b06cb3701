"""A cache that a prepared model returned: its parts stay on the ranks that use them."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

_ALIVE: WeakValueDictionary[int, Kept] = WeakValueDictionary()


class Kept:
    """What stands for the caches of all chunks, to be passed to the next call.

    Attributes and methods are those of the first chunk's cache.
    """

    def __init__(self, number: int, parts: list[Any], rows: list[int]):
        self.number = number  # the same on every rank
        self.parts = parts
        self.rows = rows
        _ALIVE[number] = self

    def __repr__(self) -> str:
        return f"<{type(self.parts[0]).__name__} on several processes>"

    def __getattr__(self, name: str) -> Any:
        """What the first chunk's cache has of that name."""
        if name.startswith("__") or name in ("parts", "rows", "number"):
            raise AttributeError(name)
        return getattr(self.parts[0], name)

    def __reduce__(self):
        """Other ranks have one of their own, of the same number."""
        return find, (self.number,)

    def chunk(self, place: int, rows: list[int]) -> Any:
        """The cache of one of the chunks, which must be cut as when it was made."""
        if rows != self.rows:
            raise ValueError(
                f"a cache of a call in chunks of {self.rows} samples was passed to a "
                f"call in chunks of {rows}: pass inputs of the same batch size"
            )
        return self.parts[place]


def find(number: int) -> Kept:
    """This rank's object of that number."""
    found = _ALIVE.get(number)
    if found is None:
        raise ValueError(
            "a cache of a prepared model was passed to the next call on the main "
            "process, but another process has let go of it: pass gather_output=True to "
            "prepare_pippy and keep the output on every process"
        )
    return found
