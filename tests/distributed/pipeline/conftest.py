"""Which rows of the matrix a run tests: another part every day, or those asked for."""

import os
from datetime import date
from pathlib import Path

from tests.distributed.pipeline import table
from tests.distributed.pipeline.rows import load

HERE = Path(__file__).parent
ASKED = "PYACCEL_PIPELINE_ROWS"  # all, or names with commas between them
PARTS = 24  # days until every row was tested

_results = {}  # by cell of the table


def pytest_collection_modifyitems(items):
    """Leaves out the rows that are another day's."""
    asked = os.environ.get(ASKED, "")
    if asked == "all":
        return
    names = set(filter(None, asked.split(",")))
    today = date.today().toordinal()
    items[:] = [
        item
        for item in items
        if HERE not in item.path.parents or _is_wanted(item, names, today)
    ]


def _is_wanted(item, names, today):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if "number" not in params or "row" not in params:
        return True
    row, number = params["row"], params["number"]
    # A row is a model's, or a case's by its name.
    name = getattr(row, "name", row)
    return name in names if names else (number + today) % PARTS == 0


def pytest_runtest_logreport(report):
    """Notes a row's result for the table."""
    cell = table.cell_of(report.nodeid)
    if cell is not None and report.when == "call":
        _results[cell] = "=" if report.passed else "**no**"


def pytest_sessionfinish():
    """Writes the table after a run of all rows."""
    if os.environ.get(ASKED) == "all" and _results:
        table.write(_results, load())
