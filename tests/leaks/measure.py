"""What a process holds, and whether repeating a call makes it hold more and more."""

import ctypes
import gc
import os
import sys
from dataclasses import asdict, dataclass

from pyaccel import _C

# Batches of calls; the first warm caches, free lists and the pool of blocks.
_WARM_UP = 2
_BATCHES = 5
# A call that leaks grows every batch. What grows some of them only is noise: it may be
# torch's, the harness's, or the allocator's rounding.
_PAGE = os.sysconf("SC_PAGE_SIZE")
_RSS_NOISE = 64 * _PAGE


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks"),
            *("uordblks", "fordblks", "keepcost"),
        )
    ]


@dataclass(frozen=True)
class Held:
    """What the calling process holds at one moment."""

    # Blocks of Python's allocator: objects, dicts, lists.
    blocks: int
    # Bytes that malloc has given out.
    malloc_bytes: int
    files: int
    mappings: int
    threads: int
    # Blocks of results and buffers that the core has given out.
    results: int
    rss: int

    @classmethod
    def now(cls):
        gc.collect()
        libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = _Mallinfo2
        info = libc.mallinfo2()
        with open("/proc/self/statm", encoding="ascii") as file:
            rss = int(file.read().split()[1]) * _PAGE
        with open("/proc/self/maps", encoding="utf-8") as file:
            mappings = sum(1 for _ in file)
        return cls(
            blocks=sys.getallocatedblocks(),
            malloc_bytes=info.uordblks + info.hblkhd,
            files=len(os.listdir("/proc/self/fd")),
            mappings=mappings,
            threads=len(os.listdir("/proc/self/task")),
            results=_C.build_info()["live_blocks"],
            rss=rss,
        )

    def growth_since(self, before):
        """By name, how much more is held now."""
        old = asdict(before)
        return {name: value - old[name] for name, value in asdict(self).items()}


def find_leaks(call, calls=200):
    """Names of what `call` makes the process hold more of, with the least growth.

    Every rank of a group makes the same number of calls, whatever it finds: `call` may
    be collective.
    """
    for _ in range(_WARM_UP):
        for _ in range(calls):
            call()
    growths = []
    for _ in range(_BATCHES):
        before = Held.now()
        for _ in range(calls):
            call()
        growths.append(Held.now().growth_since(before))
    # What one leaked item a call would grow a batch by, at the least.
    least = {
        "blocks": calls // 2,
        "malloc_bytes": calls * 8,
        "files": 1,
        "mappings": 1,
        "threads": 1,
        "results": 1,
        "rss": _RSS_NOISE,
    }
    smallest = {name: min(growth[name] for growth in growths) for name in least}
    return {name: grown for name, grown in smallest.items() if grown >= least[name]}
