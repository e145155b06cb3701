"""A placement in words: which rank has what, how much it is, and why."""

from __future__ import annotations

from .discovery import size_of
from .prepared import Prepared

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def explain(prepared: Prepared) -> str:
    """A table with a row for each stage, and what decided about it."""
    plan = prepared.plan
    begins = [0, *plan.begins, len(plan.order)]
    seconds = sum(plan.seen.seconds.values())
    rows = [("stage", "rank", "units", "parameters", "bytes", "share of time")]
    for stage, first in enumerate(begins[:-1]):
        names = plan.order[first : begins[stage + 1]]
        modules = [prepared.units[name].module for name in names]
        took = sum(plan.seen.seconds.get(name, 0.0) for name in names)
        rows.append(
            (
                str(stage),
                str(prepared.units[names[0]].owner) if names else "-",
                _span(names),
                f"{sum(map(size_of, modules)):,}",
                _bytes(sum(map(_bytes_of, modules))),
                f"{took / seconds:.0%}" if seconds else "not known",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([*(line.rstrip() for line in lines), *_reasons(prepared)])


def _span(names: list[str]) -> str:
    if not names:
        return "none"
    last = f" to {names[-1]}" if len(names) > 1 else ""
    return f"{names[0]}{last} ({len(names)})"


def _reasons(prepared: Prepared) -> list[str]:
    plan = prepared.plan
    even = "time on the example" if prepared.placement == "time" else "bytes"
    found = [f"stages are cut so that the largest has the least {even}"]
    if prepared.named:
        found = ["stages begin where split_points says"]
    if plan.seen.note:
        found.append(f"the order is that of definition: {plan.seen.note}")
    else:
        found.append("the order is that in which the example ran")
    if plan.seen.outside:
        names = ", ".join(plan.seen.outside)
        found.append(f"on every rank, as code between units reads them: {names}")
    if prepared.whole:
        found.append("batches go through as one chunk")
    return found


def _bytes_of(module) -> int:
    return sum(each.numel() * each.element_size() for each in module.parameters())


def _bytes(count: float) -> str:
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count /= 1024
        power += 1
    return f"{count:.1f} {_UNITS[power]}" if power else f"{count:.0f} B"
