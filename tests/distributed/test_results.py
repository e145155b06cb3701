"""What `gather` returns belongs to the caller: private, writable, freed anywhere."""

import gc
import queue
import threading

import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import broadcast, gather
from tests.harness import every_size, here

KIB, MIB = 1 << 10, 1 << 20
# In the card, in the ring, from torch's allocator and from the pool of blocks.
COUNTS = (3, 200, 5_000, 300_000, MIB, 3 * MIB)


def filled(count, value):
    return torch.full((count,), value, dtype=torch.uint8)


def parts_of(result, count):
    return [result[i * count : (i + 1) * count] for i in range(here.size)]


def write_into_results():
    PartialState()
    for count in COUNTS:
        own = filled(count, here.rank)
        first = gather(own)
        first.fill_(77)
        # Alone, the result is the input itself, as in accelerate.
        assert (own == (77 if here.size == 1 else here.rank)).all()
        second = gather(filled(count, here.rank))
        for rank, part in enumerate(parts_of(second, count)):
            assert (part == rank).all()
        assert (first == 77).all()
        # Nobody sees what another rank wrote into its own result.
        own.fill_(55)
        assert (first == (55 if here.size == 1 else 77)).all()


@every_size
def test_results_are_private_and_writable(backend, size):
    backend.run(write_into_results, size=size)


def keep_results_alive():
    PartialState()
    kept = []
    for step in range(12):
        for count in COUNTS:
            value = (step * 16 + here.rank) % 256
            kept.append((step, count, gather(filled(count, value))))
            broadcast(filled(count, value))
        for old_step, count, result in kept:
            for rank, part in enumerate(parts_of(result, count)):
                assert (part == (old_step * 16 + rank) % 256).all(), (step, old_step)
        # Every other result dies, so that blocks are recycled between living ones.
        del kept[::2]


@pytest.mark.parametrize("size", [2, 3])
def test_results_live_while_later_operations_run(backend, size):
    backend.run(keep_results_alive, size=size)


def keep_views_alive():
    PartialState()
    view = gather(filled(2 * MIB, here.rank))[5:10]
    row = gather(filled(2 * MIB, here.rank)).numpy()[-5:]
    for _ in range(5):
        gather(filled(2 * MIB, 100 + here.rank))
    assert (view == 0).all()
    assert (row == here.size - 1).all()


def test_a_view_keeps_its_memory(backend):
    backend.run(keep_views_alive, size=2)


def free_on_other_threads():
    PartialState()
    results = queue.SimpleQueue()

    def drop():
        while (result := results.get()) is not None:
            del result

    threads = [threading.Thread(target=drop) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for step in range(40):
            for count in (100, MIB, 2 * MIB):
                got = gather(filled(count, step))
                assert (got == step).all()
                results.put(got)
                del got
    finally:
        for _ in threads:
            results.put(None)
        for thread in threads:
            thread.join(30)


def test_results_are_freed_on_other_threads(backend):
    backend.run(free_on_other_threads, size=2)


def free_in_backward():
    PartialState()
    for _ in range(5):
        weights = torch.ones(here.size * 2 * MIB, requires_grad=True)
        features = gather(torch.full((2 * MIB,), float(here.rank)))
        # The graph holds the last reference; the backward pass lets go of it.
        loss = (weights * features).sum()
        del features
        loss.backward()
        expected = torch.arange(here.size).repeat_interleave(2 * MIB).float()
        assert torch.equal(weights.grad, expected)


def test_results_are_freed_by_the_autograd_engine(backend):
    backend.run(free_in_backward, size=2)


def free_in_cycles():
    PartialState()
    for _ in range(5):
        cycle = [gather(filled(2 * MIB, here.rank))]
        cycle.append(cycle)
        del cycle
        gc.collect()
    assert gather(filled(1, here.rank)).tolist() == list(range(here.size))


def test_results_are_freed_by_the_collector(backend):
    backend.run(free_in_cycles, size=2)


def results_are_ordinary_tensors():
    PartialState()
    for count in (3, 2 * MIB):
        got = gather(filled(count, here.rank))
        assert type(got) is torch.Tensor
        assert got.is_contiguous()
        assert got.is_leaf
        assert got.device.type == "cpu"
        got.add_(1)
        assert torch.equal(got.clone(), got)
        assert got.reshape(here.size, count).sum().item() == count * (
            here.size * (here.size + 1) // 2
        )
        assert got.share_memory_().is_shared()


@pytest.mark.parametrize("size", [2, 3])
def test_results_are_ordinary_tensors(backend, size):
    backend.run(results_are_ordinary_tensors, size=size)


def inputs_are_untouched():
    PartialState()
    for count in COUNTS:
        own = filled(count, here.rank)
        before, version = own.clone(), own._version
        gather({"a": own, "b": own})
        assert torch.equal(own, before)
        assert own._version == version


@every_size
def test_inputs_are_untouched(backend, size):
    backend.run(inputs_are_untouched, size=size)
