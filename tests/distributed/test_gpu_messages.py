"""Messages with tensors of GPUs through the Python package, on fake ones."""

import numpy as np
import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils.operations import DistributedOperationException
from tests.distributed.paths import every_path
from tests.distributed.test_gpus import by_path, gpus, start
from tests.harness import here

__all__ = ["gpus"]

# Elements of float32: in the letter, in one flow, in several chunks.
COUNTS = [0, 1, 100, 5000, 700_000]


def ring():
    """Each rank sends to the next what stands on its GPU, and something of the host."""
    found = start()
    comm = _group.comm
    results = []
    for count in COUNTS:
        values = torch.arange(count, dtype=torch.float32) + here.rank
        tree = {
            "gpu": [found.tensor(part, here.rank) for part in (values, values[::3])],
            "cpu": torch.full((3,), here.rank),
            "array": np.arange(2) + here.rank,
        }
        comm.send(tree, (here.rank + 1) % here.size)
    before = (here.rank - 1) % here.size
    for count in COUNTS:
        got = comm.recv(before)
        found.synchronize()
        values = torch.arange(count, dtype=torch.float32) + before
        assert torch.equal(got["gpu"][0], values)
        assert torch.equal(got["gpu"][1], values[::3])
        assert got["cpu"].tolist() == [before] * 3
        assert got["array"].tolist() == [before, before + 1]
        if count > 0:
            results.append(found.device_of(got["gpu"][0]))
        assert found.device_of(got["cpu"]) == -1
    return results


@every_path
def test_tensors_arrive_on_the_receivers_gpu(gpus, path):
    results = gpus(by_path, path, ring, size=3)
    assert results == [[rank] * (len(COUNTS) - 1) for rank in range(3)]


def receive_on_streams():
    found = start()
    comm = _group.comm
    if here.rank == 0:
        for number in range(4):
            found.use(0, found.new_stream(0))
            own = found.tensor(torch.full((300_000,), float(number)), 0)
            comm.send({"x": own}, 1)
        return []
    got = []
    for _ in range(4):
        found.use(1, found.new_stream(1))
        got.append(comm.recv(0)["x"])
    found.synchronize()
    return [(found.device_of(x), x.unique().tolist()) for x in got]


def test_each_message_is_in_order_on_the_current_stream(gpus):
    _, got = gpus(receive_on_streams)
    assert got == [(1, [float(number)]) for number in range(4)]


def send_to_one_without():
    """The receiver has no GPU: what comes is on its host."""
    from tests.fakes.devices import devices

    if here.rank == 0:
        found = start()
        _group.comm.send(found.tensor(torch.arange(400_000), 0), 1)
        _group.comm.send(found.tensor(torch.arange(4), 0), 1)
        return None
    devices()
    PartialState()
    first, second = _group.comm.recv(0), _group.comm.recv(0)
    assert torch.equal(first, torch.arange(400_000))
    return devices().device_of(first), second.tolist()


def test_a_receiver_without_a_gpu(gpus):
    _, got = gpus(send_to_one_without, visible="0;")
    assert got == (-1, [0, 1, 2, 3])


def full_there():
    """The receiver's GPU has no room: the message is lost alone."""
    found = start()
    comm = _group.comm
    if here.rank == 0:
        comm.send(found.tensor(torch.zeros(3_000_000), 0), 1)
        comm.send(found.tensor(torch.ones(10), 0), 1)
        here.post("sent")
        here.wait("lost")
        with pytest.raises(
            DistributedOperationException, match="could not be received"
        ):
            comm.send(torch.ones(1), 1)
        comm.send(torch.ones(1), 1)
        return None
    here.wait("sent")
    filling = []
    with pytest.raises(torch.OutOfMemoryError):
        while True:
            filling.append(found.tensor(torch.zeros(1_000_000), 1))
    with pytest.raises(torch.OutOfMemoryError):
        comm.recv(0)
    got = comm.recv(0)
    found.synchronize()
    here.post("lost")
    return got.tolist(), comm.recv(0).tolist()


def test_no_room_on_the_receivers_gpu(gpus):
    _, got = gpus(full_there, memory=64 << 20)
    assert got == ([1.0] * 10, [1.0])


def leave():
    found = start()
    comm = _group.comm
    for count in COUNTS:
        comm.send(found.tensor(torch.ones(count), here.rank), 1 - here.rank)
    for _ in COUNTS:
        comm.recv(1 - here.rank)
    PartialState().destroy_process_group()
    found.synchronize()
    return found.cuda.text("report_live")[1].splitlines()


def test_nothing_of_the_messages_is_alive_afterwards(gpus):
    for live in gpus(leave):
        assert len(live) == 1, live
        assert live[0].startswith("stream: "), live
