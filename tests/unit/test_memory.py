"""Batch sizes that shrink until the memory is enough."""

import gc
import inspect
import weakref

import pytest
import torch

from pyaccel.utils import find_executable_batch_size, release_memory
from pyaccel.utils.memory import clear_device_cache, should_reduce_batch_size

FULL = "CUDA out of memory. Tried to allocate"


def needs(limit, tried):
    """A function that has memory for a batch of `limit`."""

    def run(batch_size, *rest, **more):
        tried.append(batch_size)
        if batch_size > limit:
            raise RuntimeError(FULL)
        return rest, more

    return run


def test_sizes_shrink_and_the_next_call_begins_where_it_worked():
    tried = []
    run = find_executable_batch_size(needs(80, tried), starting_batch_size=100)
    assert run("a", key=1) == (("a",), {"key": 1})
    assert tried == [100, 90, 81, 72]
    run()
    assert tried[4:] == [72]


@pytest.mark.parametrize("as_factory", [True, False])
def test_the_callers_own_reduction_is_used(as_factory):
    """Decorating with arguments once lost the function (B20)."""
    tried, sizes = [], iter([10, 6])
    options = {
        "starting_batch_size": 16,
        "reduce_batch_size_fn": lambda: next(sizes),
    }
    if as_factory:
        run = find_executable_batch_size(**options)(needs(7, tried))
    else:
        run = find_executable_batch_size(needs(7, tried), **options)
    run()
    assert tried == [16, 10, 6]


@pytest.mark.parametrize("next_size", [16, 17])
def test_a_reduction_that_does_not_reduce_ends(next_size):
    run = find_executable_batch_size(
        needs(1, []), starting_batch_size=16, reduce_batch_size_fn=lambda: next_size
    )
    with pytest.raises(ValueError, match=f"returned {next_size} after 16 was"):
        run()


@pytest.mark.parametrize("start", [0, -1, 3])
def test_nothing_is_small_enough(start):
    run = find_executable_batch_size(needs(0, []), starting_batch_size=start)
    with pytest.raises(RuntimeError, match="No executable batch size found"):
        run()


def test_other_errors_are_the_callers():
    @find_executable_batch_size
    def run(batch_size):
        raise RuntimeError(f"no {batch_size}")

    with pytest.raises(RuntimeError, match="no 128"):
        run()


@pytest.mark.parametrize("size", [1.5, "4", None])
def test_a_start_that_is_no_number(size):
    with pytest.raises(TypeError, match="starting_batch_size is .*, not an integer"):
        find_executable_batch_size(needs(1, []), starting_batch_size=size)


def test_the_batch_size_is_not_passed():
    @find_executable_batch_size
    def run(batch_size, other):
        return other

    assert run(2) == run(other=2) == 2
    for call in (lambda: run(1, 2), lambda: run(batch_size=1, other=2)):
        with pytest.raises(TypeError, match=r"`run\(other=2\)`"):
            call()


def test_a_method_can_be_decorated():
    class Runner:
        @find_executable_batch_size(starting_batch_size=4)
        def bound(size, self):
            return size

    assert Runner.bound(Runner()) == 4
    run = needs(3, [])
    assert inspect.unwrap(find_executable_batch_size(run)) is run


def test_a_failed_attempt_holds_nothing():
    """The next attempt has the memory of the last one: nobody keeps its tensors."""
    held = []

    @find_executable_batch_size(starting_batch_size=10)
    def run(batch_size):
        assert all(reference() is None for reference in held)
        tensor = torch.ones(batch_size)
        held.append(weakref.ref(tensor))
        if batch_size > 8:
            raise RuntimeError(FULL)

    run()
    assert len(held) == 3


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(FULL),
        RuntimeError("XPU out of memory."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("HIP"),
        MemoryError(),
    ],
)
def test_errors_for_want_of_memory(error):
    assert should_reduce_batch_size(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shape"), RuntimeError(), ValueError("out of memory"), None]
)
def test_other_errors(error):
    assert not should_reduce_batch_size(error)


def test_allocating_too_much_on_the_host_is_such_an_error():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert should_reduce_batch_size(caught.value)


def test_memory_is_released():
    assert release_memory() == []
    first, second = [1], [2]
    first, second = release_memory(first, second)
    assert first is second is None


def test_circles_are_collected_when_asked():
    class Circle:
        pass

    circle = Circle()
    circle.own = circle
    gone = weakref.ref(circle)
    gc.disable()
    try:
        del circle
        clear_device_cache()
        assert gone() is not None
        clear_device_cache(garbage_collection=True)
        assert gone() is None
    finally:
        gc.enable()


def test_every_kind_of_device_gives_memory_back(monkeypatch):
    cleared = []

    class Device:
        def __init__(self, there):
            self.is_available = lambda: there
            self.empty_cache = lambda: cleared.append(there)

    monkeypatch.setattr(torch, "npu", Device(True), raising=False)
    monkeypatch.setattr(torch, "mlu", Device(False), raising=False)
    clear_device_cache()
    assert cleared == [True]


def test_torch_is_not_loaded_to_clear_it(fresh):
    script = """
        import sys
        from pyaccel.utils import release_memory
        release_memory(1)
        print("torch" in sys.modules)
    """
    assert fresh.python(script).check().stdout == "False\n"
