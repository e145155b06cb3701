"""Messages from one rank to another: order, values, refusals, threads."""

import threading

import numpy as np
import pytest
import torch

from pyaccel import _C, PartialState, _group
from pyaccel.utils.operations import DistributedOperationException
from tests.distributed import faraway
from tests.distributed.paths import every_path, use_path
from tests.distributed.values import (
    DTYPES,
    NUMPY_DTYPES,
    Pair,
    array,
    check_same,
    tensor,
)
from tests.harness import every_size, here

MIB = 1 << 20


def comm():
    """The communicator, set up."""
    PartialState()
    return _group.comm or _C.comm_self()


def everything():
    """A structure of every container and many dtypes."""
    return {
        "tensors": [tensor(name, (2, 3), 1) for name in DTYPES],
        "arrays": tuple(array(name, (3, 2), 2) for name in NUMPY_DTYPES),
        "pair": Pair(torch.arange(7).reshape(7, 1)[::2], np.empty((0, 4))),
        "scalar": torch.tensor(2.5),
        "empty": [],
    }


def pass_around(rounds):
    """Everybody sends to everybody, itself too, before anything is received."""
    group = comm()
    for number in range(rounds):
        for to in range(group.size):
            group.send(everything(), to, tag=number)
            group.send(torch.full((number + 1,), here.rank), to, digest=-number)
    for number in range(rounds):
        for source in range(group.size):
            check_same(group.recv(source, number), everything())
            got = group.recv(source, digest=-number)
            assert torch.equal(got, torch.full((number + 1,), source))


@every_size
def test_structures_come_in_order(backend, size):
    backend.run(pass_around, 3, size=size)


def exchange_large(count, nbytes):
    """All send much before they receive it."""
    group = comm()
    other = (here.rank + 1) % group.size
    before = (here.rank - 1) % group.size
    for number in range(count):
        group.send(torch.full((nbytes,), number, dtype=torch.uint8), other)
    for number in range(count):
        got = group.recv(before)
        assert got.shape == (nbytes,)
        assert torch.all(got == number)


@every_size
def test_large_ones_do_not_wait_for_the_receiver(backend, size):
    backend.run(exchange_large, 3, 5 * MIB, size=size)


def stream(count, nbytes):
    """More than is kept for a receiver that is behind."""
    group = comm()
    for number in range(count):
        if here.rank == 0:
            group.send(torch.full((nbytes,), number, dtype=torch.uint8), 1)
        else:
            assert torch.all(group.recv(0) == number)


def test_a_sender_that_is_far_ahead_waits(backend):
    backend.run(stream, 12, 40 * MIB, size=2)


def sent_values_are_those_of_the_call():
    """The sender's tensor may change at once."""
    group = comm()
    values = torch.arange(300_000)
    if here.rank == 0:
        for _ in range(4):
            group.send(values, 1)
            values += 1
    else:
        for number in range(4):
            assert torch.equal(group.recv(0), values + number)


def test_what_is_sent_may_be_changed(backend):
    backend.run(sent_values_are_those_of_the_call, size=2)


OBJECTS = [None, "text", {"a": [1, 2.5]}, np.arange(100_000), b"x" * 300_000]


def exchange_objects():
    group = comm()
    for to in range(group.size):
        for value in OBJECTS:
            group.send_object(value, to)
    return [[group.recv_object(q) for _ in OBJECTS] for q in range(group.size)]


@every_size
def test_objects(backend, size):
    for got in backend.run(exchange_objects, size=size):
        for values in got:
            for value, wanted in zip(values, OBJECTS, strict=True):
                assert np.array_equal(value, wanted)


def collectives_between():
    group = comm()
    other = 1 - here.rank
    for number in range(20):
        group.send(torch.tensor(number), other)
        assert group.gather(torch.tensor([here.rank])).tolist() == [0, 1]
        assert group.recv(other) == number


def test_collectives_do_not_disturb_messages(backend):
    backend.run(collectives_between, size=2)


def first_by(path):
    """The receiver has read no tensor before."""
    use_path(path)
    group = comm()
    if here.rank == 0:
        group.send({"x": tensor("bfloat16", (3, 2), 1)}, 1)
    else:
        check_same(group.recv(0), {"x": tensor("bfloat16", (3, 2), 1)})


@every_path
def test_a_receiver_that_never_sent(backend, path):
    backend.run(first_by, path, size=2, own_group=True)


def from_far_away():
    library = faraway.register()
    group = comm()
    if here.rank == 0:
        group.send({"far": faraway.Faraway(torch.arange(3)), "near": torch.ones(1)}, 1)
        group.send({"far": torch.arange(3), "near": torch.ones(1)}, 1)
        got = []
    else:
        got = [group.recv(0), group.recv(0)]
    library._destroy()
    return [[leaf.device.type for leaf in tree.values()] for tree in got]


def test_tensors_arrive_on_the_device_that_they_came_from(backend):
    _, devices = backend.run(from_far_away, size=2, own_group=True)
    assert devices == [["faraway", "cpu"], ["cpu", "cpu"]]


# ---- What is wrong ----


def refuse():
    """What both sides are told; the channel goes on."""
    group = comm()
    texts = []
    if here.rank == 0:
        group.send({"x": torch.zeros(2, 3)}, 1, tag=4)
        group.send_object("text", 1)
        group.send({"x": torch.ones(2, 3)}, 1)
        here.post("sent")
        here.wait("refused")
        with pytest.raises(DistributedOperationException) as caught:
            group.send(torch.zeros(1), 1)
        texts.append(str(caught.value))
        group.send({"x": torch.ones(2, 3)}, 1)
    else:
        here.wait("sent")
        for arguments in ((0, 5), (0, 0, 7)):
            with pytest.raises(DistributedOperationException) as caught:
                group.recv(*arguments)
            texts.append(str(caught.value))
        here.post("refused")
        # The structure came with the message that was refused.
        for _ in range(2):
            assert torch.equal(group.recv(0)["x"], torch.ones(2, 3))
    assert group.broken is None
    return texts


def test_what_is_not_expected_is_an_error_on_both_sides(backend):
    sender, receiver = backend.run(refuse, size=2, own_group=True)
    assert "rank 1 refused" in sender[0]
    for text in (sender[0], receiver[0]):
        assert "message 1 of rank 0 to rank 1" in text
        assert "float32 [2, 3]" in text
        assert "with tag 4" in text
        assert "expects tag 5" in text
    assert "is a send_object, which recv does not receive" in receiver[1]


def bad_arguments():
    group = comm()
    for peer in (-1, group.size, 1 << 40):
        for call in (
            lambda: group.send(torch.ones(1), peer),  # noqa: B023
            lambda: group.recv(peer),  # noqa: B023
        ):
            with pytest.raises(ValueError, match=f"no rank {peer} in a group of 2"):
                call()
    with pytest.raises(TypeError, match="to must be an int"):
        group.send(torch.ones(1), "1")
    with pytest.raises(TypeError):
        group.send([torch.ones(1), "text"], 1 - here.rank)
    # Nothing of these was sent.
    group.send(torch.tensor(here.rank), 1 - here.rank)
    assert group.recv(1 - here.rank) == 1 - here.rank


def test_wrong_calls_send_nothing(backend):
    backend.run(bad_arguments, size=2)


class OnlyHere(dict):
    """A mapping that no other process can unpickle."""

    def __reduce__(self):
        return _unpickle_where, (here.rank, dict(self))


def _unpickle_where(rank, items):
    if here.rank != rank:
        raise RuntimeError("not here")
    return OnlyHere(items)


def containers_with_more():
    """What a container has beside its items comes with each message."""
    group = comm()
    if here.rank == 0:
        for number in range(3):
            group.send(Labelled({"x": torch.ones(1)}, number), 1)
        group.send({"x": torch.ones(1)}, 1)
    else:
        assert [group.recv(0).label for _ in range(3)] == [0, 1, 2]
        assert type(group.recv(0)) is dict


class Labelled(dict):
    """A mapping that cannot be made of its items alone."""

    def __init__(self, items, label):
        super().__init__(items)
        self.label = label


def test_containers_come_as_they_are(backend):
    backend.run(containers_with_more, size=2)


def cannot_be_received():
    group = comm()
    if here.rank == 0:
        group.send(OnlyHere(x=torch.ones(100_000)), 1)
        group.send_object(OnlyHere(x=bytes(100_000)), 1)
        group.send(torch.ones(2), 1)
        here.post("sent")
        here.wait("lost")
        with pytest.raises(
            DistributedOperationException, match="could not be received"
        ):
            group.send(torch.ones(2), 1)
        return
    here.wait("sent")
    for call in (group.recv, group.recv_object):
        with pytest.raises(RuntimeError, match="not here"):
            call(0)
    assert group.recv(0).tolist() == [1, 1]
    here.post("lost")


def test_what_cannot_be_unpickled_is_lost_alone(backend):
    backend.run(cannot_be_received, size=2)


# ---- Threads ----


def in_threads(functions):
    """Run functions at once, each in a thread; raise what one of them raised."""
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def threads_at_both_ends(rounds):
    group = comm()
    others = [q for q in range(group.size) if q != here.rank]

    def send_to(peer):
        for number in range(rounds):
            group.send(torch.full((number * 50,), number), peer)

    def receive_from(peer):
        for number in range(rounds):
            assert torch.equal(group.recv(peer), torch.full((number * 50,), number))

    def collective():
        for _ in range(rounds):
            group.barrier()

    functions = [lambda q=q: send_to(q) for q in others]
    functions += [lambda q=q: receive_from(q) for q in others]
    in_threads([*functions, collective])


def test_channels_are_used_by_several_threads_at_once(backend):
    backend.run(threads_at_both_ends, 100, size=3)


def wait_and_send():
    """A thread that waits for a message holds up no other."""
    group = comm()
    if here.rank == 0:
        waits = threading.Thread(target=lambda: group.recv(1))
        waits.start()
        group.send(torch.ones(1), 1)
        assert group.recv_object(2) == "from 2"
        group.send(torch.ones(1), 2)
        waits.join()
    elif here.rank == 1:
        group.recv(0)
        assert group.recv_object(2) == "go on"
        group.send(torch.ones(1), 0)
    else:
        group.send_object("from 2", 0)
        group.recv(0)
        group.send_object("go on", 1)


def test_who_waits_holds_up_nobody(backend):
    backend.run(wait_and_send, size=3)
