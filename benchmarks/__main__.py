"""python -m benchmarks [NAME...] [--quick] [--json FILE]"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from benchmarks.harness import machine, report
from benchmarks.harness.session import Session
from benchmarks.harness.stats import timer_overhead_ns

NAMES = (
    "barrier",
    "gather",
    "broadcast",
    "reduce",
    "trees",
    "p2p",
    "overtorch",
    "objects",
    "split",
    "startup",
    "setup",
    "launch",
    "store",
    "memory",
    "failure",
    "check",
    "gpu",
)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare pyaccel with accelerate and with what the machine can do.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few samples of everything: shows that it works, judges nothing",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report too")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES:
            parser.error(
                f"there is no benchmark {name!r}; there are {', '.join(NAMES)}"
            )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; 1 if a result was wrong or a contestant failed."""
    options = parse(arguments)
    cpus = machine.take_cpus()
    facts = machine.describe(cpus)
    facts["quick"] = options.quick
    facts["timer_overhead_ns"] = timer_overhead_ns()
    with Session(options.quick) as session:
        for name in options.names or NAMES:
            importlib.import_module(f"benchmarks.{name}").run(session)
        rows = session.rows
        facts.update(session.facts)
    facts["load_after"] = round(os.getloadavg()[0], 2)
    for fact, value in facts.items():
        print(f"{fact}: {value}")
    if len(cpus) < machine.CPUS_WANTED:
        print("One CPU is usable; the goals suppose two, so misses mean little here.")
    report.show(rows, sys.stdout)
    report.show_errors(rows)
    if options.json:
        options.json.write_text(report.to_json(facts, rows), encoding="utf-8")
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
