"""What scripts do with tensors on a GPU beside collectives; which GPU is whose."""

import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils import (
    broadcast,
    find_device,
    gather,
    gather_object,
    pad_across_processes,
    reduce,
    send_to_device,
)
from pyaccel.utils.operations import DistributedOperationException
from tests.distributed.values import check_same
from tests.harness import here


def alone():
    state = PartialState()
    own = torch.arange(6.0).reshape(2, 3)
    with state.split_between_processes({"x": own}) as share:
        assert share["x"] is own
    for result in (gather(own), broadcast(own), pad_across_processes(own)):
        assert result is own
    assert torch.equal(reduce(own, "sum"), own)
    assert gather_object([own])[0] is own
    assert own.device.type == state.device.type == "cuda"
    return _group.comm is None


def test_one_process_with_one_gpu(own_choice):
    assert own_choice.run(alone, size=1) == [True]


def objects():
    own = {"tensor": torch.arange(5) + here.rank, "name": f"rank {here.rank}"}
    got = gather_object([own])
    for rank, item in enumerate(got):
        check_same(item["tensor"].cpu(), torch.arange(5, device="cpu") + rank)
        assert item["name"] == f"rank {rank}"
    return {item["tensor"].device.type for item in got}


@pytest.mark.parametrize("size", [2, 3])
def test_objects_with_tensors(own_choice, size):
    # As torch unpickles them, and as accelerate's are.
    assert own_choice.run(objects, size=size) == [{"cuda"}] * size


def pinned():
    device = PartialState().device
    tree = {
        "a": torch.arange(100_000, device="cpu").pin_memory(),
        "b": [torch.full((3, 5), 2.5, device="cpu").pin_memory().t()],
        "c": torch.ones(2, device="cpu"),
    }
    moved = send_to_device(tree, device, non_blocking=True)
    assert find_device(moved).type == device.type
    # The copies are in order on the stream that reads them.
    back = send_to_device(moved, "cpu")
    check_same(back, {**tree, "b": [tree["b"][0].clone()]})
    assert send_to_device(moved, device)["a"] is moved["a"]
    left = send_to_device(tree, device, skip_keys=["c"])
    assert left["c"].device.type == "cpu"


def test_send_to_device_from_pinned_memory(own_choice):
    own_choice.run(pinned, size=1)


def split():
    state = PartialState()
    whole = torch.arange(14).reshape(7, 2)
    with state.split_between_processes(whole) as share:
        views = share.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        rows = share[:, 0].tolist()
    with state.split_between_processes(whole, apply_padding=True) as share:
        length = len(share)
        assert share.device == whole.device
    with state.split_between_processes({"x": whole, "y": list(range(7))}) as share:
        assert torch.equal(share["x"][:, 0], torch.tensor(share["y"]) * 2)
    return views, rows, length


@pytest.mark.parametrize("size", [2, 3, 4])
def test_split_gives_views(own_choice, size):
    results = own_choice.run(split, size=size)
    assert all(views for views, _, _ in results)
    assert [row for _, rows, _ in results for row in rows] == list(range(0, 14, 2))
    assert {length for _, _, length in results} == {-(-7 // size)}


def mixed_places():
    """A leaf of the CPU beside one of a GPU, and one that is there on rank 0 only."""
    cpu, gpu = torch.device("cpu"), PartialState().device
    own = {
        "cpu": torch.full((3,), here.rank, device=cpu),
        "gpu": torch.full((3,), here.rank, device=gpu),
        "either": torch.full((3,), here.rank, device=cpu if here.rank else gpu),
    }
    expected = torch.arange(here.size, device=cpu).repeat_interleave(3)
    got = gather(own)
    for name, leaf in got.items():
        assert leaf.device == own[name].device, name
        assert torch.equal(leaf.cpu(), expected), name
    total = reduce(own, "sum")
    for name, leaf in total.items():
        assert leaf.device == own[name].device, name
        assert leaf.tolist() == [sum(range(here.size))] * 3
    told = broadcast(own, 1)
    assert all(leaf.tolist() == [1] * 3 for leaf in told.values())


@pytest.mark.parametrize("size", [2, 3])
def test_host_and_device_in_one_structure(backend, size):
    backend.run(mixed_places, size=size)


def wrong_calls():
    own = torch.ones(4)
    with pytest.raises(DistributedOperationException):
        gather(own if here.rank else own.int())
    with pytest.raises(DistributedOperationException):
        gather(own) if here.rank else broadcast(own)
    with pytest.raises((TypeError, DistributedOperationException)):
        gather([own, "text"] if here.rank else [own, own])
    assert gather(own).shape == (4 * here.size,)


@pytest.mark.parametrize("size", [2, 3])
def test_wrong_calls_leave_the_group_whole(backend, size):
    backend.run(wrong_calls, size=size)


def device():
    state = PartialState()
    assert torch.cuda.current_device() == state.device.index
    return str(state.device)


def test_ranks_share_the_only_gpu(one_gpu):
    assert one_gpu.run(device, size=3) == ["cuda:0"] * 3


def test_each_rank_has_a_gpu(apart):
    assert apart.run(device, size=2) == ["cuda:0", "cuda:1"]


def on_another_gpu():
    """Tensors that are not on the rank's own GPU come back on theirs."""
    other = torch.device("cuda", 1 - PartialState().device.index)
    got = gather({"own": torch.ones(3), "other": torch.ones(5, device=other)})
    assert got["other"].device == other
    assert got["own"].device != other
    return sum(leaf.sum().item() for leaf in got.values())


def test_a_tensor_on_another_gpu(apart):
    assert apart.run(on_another_gpu, size=2) == [16, 16]


def messages():
    """From one rank to the next, small and large; the values are those of the call."""
    group = _group.comm
    after, before = (here.rank + 1) % here.size, (here.rank - 1) % here.size
    for count in (1, 5_000, 3_000_000):
        own = torch.full((count,), here.rank)
        group.send({"x": own, "y": [own.half()]}, after)
        own.fill_(-1)
        got = group.recv(before)
        expected = torch.full((count,), before, device="cpu")
        check_same(got["x"].cpu(), expected)
        check_same(got["y"][0].cpu(), expected.half())


@pytest.mark.parametrize("size", [2, 3])
def test_messages(backend, size):
    backend.run(messages, size=size)


def ways():
    gather(torch.ones(3))
    return _group.comm.devices()


@pytest.mark.parametrize("size", [2, 4])
def test_the_ways_are_told(backend, size):
    for text in backend.run(ways, size=size):
        assert backend.way in text


def test_a_group_chooses_a_way_by_itself(own_choice):
    first, second = own_choice.run(ways, size=2)
    assert first == second
    assert "staged" in first


def every_operation():
    """What scripts do one after the other, in a group that nobody told a way."""
    for count in (1, 5_000, 3_000_000):
        own = torch.full((count + here.rank,), float(here.rank))
        got = gather(own)
        assert got.shape == (sum(count + rank for rank in range(here.size)),)
        padded = pad_across_processes(own, pad_index=-1)
        assert padded.shape == (count + here.size - 1,)
        assert (padded[len(own) :] == -1).all()
        assert reduce(padded[:1], "sum").item() == sum(range(here.size))
        assert gather(own, dst=0) is None or here.rank == 0


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_group_left_to_itself(own_choice, size):
    own_choice.run(every_operation, size=size)
