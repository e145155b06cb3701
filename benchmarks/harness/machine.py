"""The machine of a run: which CPUs the ranks share, and what the report says of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

CPUS_WANTED = 2


def take_cpus() -> list[int]:
    """Bind this process, and so all its children, to two CPUs of different cores.

    On every machine "2 ranks on 2 cores" and "4 ranks on 2 cores" then mean the same.
    A machine with a single usable CPU gives that one, and the report says so.
    """
    chosen: list[int] = []
    busy: set[int] = set()
    usable = sorted(os.sched_getaffinity(0))
    for cpu in usable:
        if cpu not in busy and len(chosen) < CPUS_WANTED:
            chosen.append(cpu)
            busy |= siblings(cpu)
    spare = [cpu for cpu in usable if cpu not in chosen]
    chosen += spare[: CPUS_WANTED - len(chosen)]
    os.sched_setaffinity(0, chosen)
    return chosen


def siblings(cpu: int) -> set[int]:
    """The hardware threads of the core that `cpu` belongs to."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return parse_cpus(path.read_text())
    except OSError:
        return {cpu}


def parse_cpus(text: str) -> set[int]:
    """The CPUs of a list as the kernel writes it: "0-3,8"."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def describe(cpus: list[int]) -> dict[str, object]:
    """The facts that a reader needs to judge the figures."""
    return {
        "cpu": cpu_model(),
        "cpus": cpus,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        **{name: version(name) for name in ("torch", "numpy", "accelerate", "pyaccel")},
    }


def cpu_model() -> str:
    """The processor's name as the kernel knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.partition(":")[2].strip()
    return platform.machine()


def version(name: str) -> str:
    """A package's version; pyaccel may also run from its source folder."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "source" if name == "pyaccel" else "not installed"
