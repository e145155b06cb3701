"""The report: one row a contestant and case, as an aligned table and as JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

from benchmarks.harness.case import Goal

MIB = 1 << 20
TIME_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
HEADS = (
    "bench",
    "case",
    "ranks",
    "library",
    "p10",
    "median",
    "p99",
    "x accelerate",
    "x floor",
    "goal",
    "verdict",
)
RIGHT_ALIGNED = {"ranks", "p10", "median", "p99", "x accelerate", "x floor"}


@dataclass
class Row:
    """One line of the report; figures are in `unit`, "ns" or "bytes".

    `to_accelerate` says how many times better than accelerate, `to_floor` how many
    times the floor; both by medians of the same run.
    """

    bench: str
    case: str
    ranks: int
    library: str
    unit: str = "ns"
    samples: int = 0
    p10: float | None = None
    median: float | None = None
    p99: float | None = None
    to_accelerate: float | None = None
    to_floor: float | None = None
    goal: str = ""
    reached: bool | None = None
    verdict: str = ""
    error: str = ""


def goal_text(goal: Goal, unit: str) -> str:
    """A goal in few words: "150x; 3 floor + 150 ns"."""
    parts = []
    if goal.times is not None:
        parts.append(f"{goal.times:.3g}x")
    terms = []
    if goal.factor is not None:
        terms.append("floor" if goal.factor == 1 else f"{goal.factor:g} floor")
    if goal.plus is not None:
        terms.append(amount_text(goal.plus, unit))
    if terms:
        suffix = "" if goal.statistic == "median" else f" by {goal.statistic}"
        parts.append(" + ".join(terms) + suffix)
    return "; ".join(parts)


def amount_text(value: float | None, unit: str) -> str:
    """A figure with the unit that suits its size."""
    if value is None:
        return ""
    if unit == "bytes":
        return f"{value / MIB:.1f} MiB"
    for size, name in TIME_UNITS:
        if value >= size:
            return (
                f"{value / size:.3g} {name}"
                if value < 999.5 * size
                else (f"{value / size:.0f} {name}")
            )
    return f"{value:.2g} ns"


def ratio_text(value: float | None) -> str:
    """A ratio with three digits."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table shows it."""
    return (
        row.bench,
        row.case,
        str(row.ranks),
        row.library,
        amount_text(row.p10, row.unit),
        amount_text(row.median, row.unit),
        amount_text(row.p99, row.unit),
        ratio_text(row.to_accelerate),
        ratio_text(row.to_floor),
        row.goal,
        row.verdict or ("failed: see below" if row.error else ""),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    lines = [HEADS, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    text = []
    for line in lines:
        padded = [
            cell.rjust(width) if head in RIGHT_ALIGNED else cell.ljust(width)
            for cell, width, head in zip(line, widths, HEADS, strict=True)
        ]
        text.append("  ".join(padded).rstrip())
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def show(rows: Sequence[Row], out: TextIO) -> None:
    """Print the table; on a terminal with rich installed, by rich."""
    if out.isatty() and importlib.util.find_spec("rich"):
        show_rich(rows, out)
    else:
        print(table(rows), file=out)


def show_rich(rows: Sequence[Row], out: TextIO) -> None:
    """The table with colours for what was reached and missed."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, header_style="bold")
    for head in HEADS:
        shown.add_column(head, justify="right" if head in RIGHT_ALIGNED else "left")
    for row in rows:
        style = {True: "green", False: "red", None: None}[row.reached]
        shown.add_row(*cells(row), style="red" if row.error else style)
    Console(file=out).print(shown)


def show_errors(rows: Sequence[Row], out: TextIO = sys.stderr) -> None:
    """What failed, in full."""
    for row in rows:
        if row.error:
            where = f"{row.bench}, {row.case}, {row.ranks} ranks, {row.library}"
            print(f"\n{where}: {row.error}", file=out)


def to_json(machine: dict[str, object], rows: Sequence[Row]) -> str:
    """The whole report for programs."""
    report = {"machine": machine, "rows": [asdict(row) for row in rows]}
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
