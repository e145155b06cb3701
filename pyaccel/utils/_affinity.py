"""Which processors are next to a GPU: what the kernel says of its place on the bus."""

import os
from pathlib import Path

_DEVICES = Path("/sys/bus/pci/devices")


def parse_cpu_list(text: str) -> set[int]:
    """The numbers in the kernel's list of processors, such as "0-7,16-23"."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def processors_near_gpu(index: int) -> set[int]:
    """Those that this process may use and that are next to its GPU; maybe none.

    As with devices, processes beyond the number of GPUs begin at the first one again.
    """
    import torch

    if not torch.cuda.is_available():
        return set()
    gpu = torch.cuda.get_device_properties(index % torch.cuda.device_count())
    place = f"{gpu.pci_domain_id:04x}:{gpu.pci_bus_id:02x}:{gpu.pci_device_id:02x}.0"
    try:
        text = (_DEVICES / place / "local_cpulist").read_text()
    except OSError:
        return set()  # A container may hide the bus.
    return parse_cpu_list(text) & os.sched_getaffinity(0)
