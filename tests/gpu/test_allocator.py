"""torch's caching allocator: nothing uses memory that was freed, nothing keeps any."""

import random
from dataclasses import replace

import pytest
import torch

from pyaccel.utils import broadcast, gather, reduce
from tests.gpu.ways import SHARED
from tests.harness import here

KIB, MIB = 1 << 10, 1 << 20
# With these the allocator is out of the way, so that what is freed is gone at once.
NO_CACHE = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}


def filled(count, value):
    return torch.full((count,), value, dtype=torch.uint8)


def allocate_and_free(steps):
    """Inputs die as soon as the call has returned, and their memory is written again by
    work behind it; results live for a while, and must not change."""
    choose = random.Random(7)  # the same on all ranks
    wrong = torch.zeros((), dtype=torch.int64)
    kept = []
    for step in range(steps):
        count = choose.choice([1, 200, 4 * KIB, 300 * KIB, 3 * MIB])
        value = step % 50 * 5
        own = filled(count, value + here.rank)
        got = gather(own)
        del own
        # The allocator gives the same memory to the next of that size.
        filled(count, 255)
        kept.append((count, value, got))
        if choose.random() < 0.6:
            kept.pop(choose.randrange(len(kept)))
        root = choose.randrange(here.size)
        told = broadcast(filled(count, value + here.rank), root)
        wrong += (told != value + root).sum()
        # No synchronization: the host runs far ahead of the GPU.
        del told
        if step % 10 == 0:
            for kept_count, kept_value, result in kept:
                for rank, part in enumerate(result.split(kept_count)):
                    wrong += (part != kept_value + rank).sum()
    return wrong.item()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_memory_is_not_used_after_it_was_freed(backend, size):
    assert backend.run(allocate_and_free, 120, size=size) == [0] * size


@pytest.mark.parametrize("way", SHARED)
def test_the_same_without_the_cache(ranks, way):
    backend = replace(SHARED[way], extra={**SHARED[way].extra, **NO_CACHE}, ranks=ranks)
    assert backend.run(allocate_and_free, 40, size=2) == [0, 0]


def on_streams():
    """Memory that goes from a stream to another, as torch asks for it."""
    wrong = torch.zeros((), dtype=torch.int64)
    side = torch.cuda.Stream()
    for step in range(60):
        with torch.cuda.stream(side):
            got = gather(filled(300 * KIB, step))
        torch.cuda.current_stream().wait_stream(side)
        got.record_stream(torch.cuda.current_stream())
        wrong += (got != step).sum()
        del got
    return wrong.item()


def test_results_go_from_stream_to_stream(backend):
    assert backend.run(on_streams, size=2) == [0, 0]


def memory_of_calls():
    """Bytes that torch counts as given out before and after many calls."""

    def call():
        own = {str(i): filled(i * 1000 + 1, i) for i in range(50)}
        gather(own)
        reduce({"a": torch.ones(1000)}, "sum")
        broadcast(own)

    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(30):
        call()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated() - before


def test_nothing_is_kept(backend):
    assert backend.run(memory_of_calls, size=2) == [0, 0]


def free_memory_after(calls):
    """What the device has left after so many calls, torch's cache given back."""
    own = filled(3 * MIB, here.rank)
    for _ in range(calls):
        gather(own)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    here.meet(f"after {calls}")
    return torch.cuda.mem_get_info()[0]


def device_memory():
    free_memory_after(3)
    return free_memory_after(5) - free_memory_after(60)


@pytest.mark.parametrize("way", SHARED)
def test_our_own_buffers_do_not_grow(ranks, way):
    # Others may use the GPU, but hardly so that each rank sees a loss of that size.
    lost = SHARED[way].over(ranks).run(device_memory, size=2)
    assert min(lost) < 55 * 3 * MIB
