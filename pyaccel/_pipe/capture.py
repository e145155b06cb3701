"""Lists that collect intermediate results of transformers' models, by hooks in them.

Hooks within a unit run on its owner alone, so what they collect there must be repeated
on the other ranks.
"""

from __future__ import annotations

import sys
from typing import Any


def active() -> dict[Any, list[Any]]:
    """The lists of the capture that is going on, by their names; empty if none is."""
    module = sys.modules.get("transformers.utils.output_capturing")
    variable = getattr(module, "_active_collector", None)
    found = variable.get() if variable is not None else None
    if not found:
        return {}
    return {key: items for key, items in found.items() if isinstance(items, list)}
