"""Reads `differences.json`: where pyaccel's results are not accelerate's, on purpose.

A row says for some cases what differs, one thing or several, both results, and why:
the decision of design.md's section 12 (B1 to B20), or a sentence. Tests assert both
results.
"""

import json
from pathlib import Path

_FILE = Path(__file__).with_name("differences.json")


def differences(part, case):
    """The rows of a case, by the thing that differs."""
    rows = json.loads(_FILE.read_text(encoding="utf-8"))
    found = [row for row in rows if row["part"] == part and case in row["cases"]]
    return {what: row for row in found for what in _listed(row["what"])}


def _listed(what):
    """One thing or several that differ alike."""
    return what if isinstance(what, list) else [what]
