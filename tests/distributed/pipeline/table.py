"""The matrix as a table of README.md in the folder above, written by a run of all rows.

PYACCEL_PIPELINE_ROWS=all python -m pytest tests/distributed/pipeline/test_matrix.py
"""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
COLUMNS = ("forward, 2 ranks", "forward, 3 ranks", "generate, 2", "generate, 3")
_TEST = re.compile(r"test_matrix\.py::test_(forward|generate)\[(\w+)-(\d)")


def cell_of(nodeid):
    """The row and the column that a test is for; None for other tests."""
    found = _TEST.search(nodeid)
    if found is None:
        return None
    what, row, size = found.groups()
    return row, (0 if what == "forward" else 2) + int(size) - 2


def write(results, rows):
    """Puts results by cell into the table; rows that were not run are left out."""
    lines = [f"| model | class | {' | '.join(COLUMNS)} |", "| --- " * 6 + "|"]
    for name, row in rows.items():
        cells = [results.get((name, column)) for column in range(len(COLUMNS))]
        if any(cells):
            words = [cell or "none" for cell in cells]
            lines.append(f"| {name} | `{row.model}` | {' | '.join(words)} |")
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    behind = rest.partition(END)[2]
    table = "\n".join(lines)
    README.write_text(f"{before}{BEGIN}\n{table}\n{END}{behind}", encoding="utf-8")
