"""Order on torch's streams: what came before is read, what comes after sees it."""

import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils import broadcast, gather, reduce
from tests.gpu.ways import APART, SHARED
from tests.harness import here

# Cycles for which a stream is kept busy: some milliseconds, far more than a call takes.
BUSY = 10_000_000
COUNT = 40_000


def expected(step):
    parts = [torch.full((COUNT,), 100 * step + rank) for rank in range(here.size)]
    return torch.cat(parts)


def late(step):
    """A tensor that the current stream writes only a while after this returns."""
    own = torch.full((COUNT,), -1)
    torch.cuda._sleep(BUSY)
    return own.fill_(100 * step + here.rank)


def read_what_is_late():
    for step in range(3):
        # The next statement on the stream comes behind the operation.
        assert torch.equal(gather(late(step)), expected(step))
        assert torch.equal(
            broadcast(late(step), 1), torch.full((COUNT,), 100 * step + 1)
        )
        total = sum(100 * step + rank for rank in range(here.size))
        assert torch.equal(reduce(late(step), "sum"), torch.full((COUNT,), total))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_what_the_stream_writes_late_is_what_arrives(backend, size):
    backend.run(read_what_is_late, size=size)


def use_streams():
    streams = [torch.cuda.current_stream(), *(torch.cuda.Stream() for _ in range(3))]
    kept = []
    for step in range(24):
        with torch.cuda.stream(streams[step % len(streams)]):
            got = gather(late(step))
            kept.append((step, got, got.sum()))
    torch.cuda.synchronize()
    for step, got, total in kept:
        assert torch.equal(got, expected(step)), step
        # Enqueued right behind the operation, on the same stream.
        assert total == expected(step).sum(), step


@pytest.mark.parametrize("size", [2, 3])
def test_several_streams_in_turn(backend, size):
    backend.run(use_streams, size=size)


def use_other_streams_than_others():
    """Each rank works on a stream of its own choice: only the order of calls agrees."""
    streams = [torch.cuda.Stream() for _ in range(2)]
    for step in range(8):
        with torch.cuda.stream(streams[(step + here.rank) % 2]):
            got = gather(late(step))
            assert torch.equal(got, expected(step))


def test_streams_differ_between_ranks(backend):
    backend.run(use_other_streams_than_others, size=2)


def overwrite_inputs():
    """What an operation reads may be written by the stream's next work."""
    own = torch.empty(COUNT, dtype=torch.int64)
    kept = []
    for step in range(10):
        own.fill_(100 * step + here.rank)
        kept.append(gather(own))
        own.fill_(-7)
    for step, got in enumerate(kept):
        assert torch.equal(got, expected(step)), step


@pytest.mark.parametrize("size", [2, 3, 4])
def test_inputs_may_be_overwritten_at_once(backend, size):
    backend.run(overwrite_inputs, size=size)


def use_inference_mode():
    with torch.inference_mode():
        own = torch.full((COUNT,), here.rank)
        got = gather({"a": own, "b": [own]})
        told = broadcast(own.clone(), 1)
        total = reduce(own, "max")
        assert torch.equal(got["a"], torch.arange(here.size).repeat_interleave(COUNT))
        assert torch.equal(got["a"], got["b"][0])
        assert (told == 1).all()
        assert (total == here.size - 1).all()
    # A result of that mode is an input like any other outside of it.
    assert gather(got["a"]).shape == (COUNT * here.size**2,)


def test_inference_mode(backend):
    backend.run(use_inference_mode, size=2)


def capture():
    """An operation in a CUDA graph: replayed, it moves what is there by then."""
    own = torch.zeros(COUNT, dtype=torch.int64)
    gather(own)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = gather(own)
    for step in range(3):
        own.fill_(100 * step + here.rank)
        graph.replay()
        assert torch.equal(got, expected(step)), step
    # Between replays, operations outside of the graph go on.
    assert torch.equal(gather(own), expected(2))


def refuse_capture():
    own = torch.full((COUNT,), 100 + here.rank)
    gather(own)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        with pytest.raises(ValueError, match="CUDA graph") as caught:
            gather(own)
        # Capturing goes on: an empty graph would be a warning.
        own.add_(0)
    assert torch.equal(gather(own), expected(1))
    return str(caught.value)


@pytest.mark.parametrize("way", ["ipc", "staged"])
def test_ways_that_graphs_cannot_hold_say_so(ranks, way):
    for text in SHARED[way].over(ranks).run(refuse_capture, size=2):
        assert way in text


@pytest.mark.parametrize("ways", [SHARED, APART], ids=["one GPU", "a GPU each"])
def test_nccl_in_a_graph(ranks, ways):
    ways["nccl"].over(ranks).run(capture, size=2)


def from_threads():
    """Threads have current streams of their own."""
    from concurrent.futures import ThreadPoolExecutor

    device = PartialState().device

    def call(step):
        torch.cuda.set_device(device)
        with torch.device(device), torch.cuda.stream(torch.cuda.Stream()):
            got = gather(late(step))
            return torch.equal(got, expected(step))

    # One at a time: all ranks must call in the same order.
    with ThreadPoolExecutor(1) as pool:
        return [pool.submit(call, step).result() for step in range(3)]


def test_other_threads_and_their_streams(backend):
    assert backend.run(from_threads, size=2) == [[True] * 3] * 2
