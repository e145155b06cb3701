"""Messages whose other side ends, stays away, leaves or is interrupted."""

import os
import signal
import threading

import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils.operations import (
    DistributedOperationException,
    DistributedPeerError,
    DistributedTimeoutError,
)
from tests.harness import here

MIB = 1 << 20


def comm():
    PartialState().wait_for_everyone()
    return _group.comm


def expect(kind, call):
    """Call what must fail; the text of how it failed."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def receive():
    _group.comm.recv(1)


def receive_object():
    _group.comm.recv_object(1)


def send_much():
    """More than is kept for a rank that does not receive."""
    for _ in range(20):
        _group.comm.send(torch.ones(32 * MIB, dtype=torch.uint8), 1)


CALLS = [receive, receive_object, send_much]


def killed_inside(call):
    """Rank 0 waits for rank 1, which is killed; rank 2 hears of it."""
    group = comm()
    if here.rank == 1:
        here.wait("waits")
        here.wait_asleep(0, "waits")
        here.die()
    if here.rank == 2:
        text = expect(DistributedOperationException, lambda: group.recv(0))
    else:
        here.post("waits")
        text = expect(DistributedPeerError, call)
    assert group.broken
    expect(DistributedOperationException, group.barrier)
    return text


@pytest.mark.parametrize("call", CALLS)
def test_a_killed_peer_is_named(backend, call):
    outcomes = backend.run(killed_inside, call, size=3, check=False)
    assert outcomes[1].exit == -signal.SIGKILL
    for rank in (0, 2):
        assert outcomes[rank].returned, outcomes[rank].report()
        assert "rank 1" in outcomes[rank].value
    assert "test_channel_faults.py:" in outcomes[0].value


def stayed_away(call):
    group = comm()
    if here.rank == 1:
        here.wait("told")
        expect(DistributedOperationException, lambda: group.send(torch.ones(1), 0))
        return ""
    group.timeout = 0.5
    text = expect(DistributedTimeoutError, call)
    here.post("told")
    return text


@pytest.mark.parametrize("call", CALLS)
def test_a_peer_that_stays_away(backend, call):
    text, _ = backend.run(stayed_away, call, size=2, own_group=True)
    assert "rank 1" in text
    assert "did not arrive within 0.5 s" in text
    assert "test_channel_faults.py:" in text


def left():
    """What was sent before a rank left is received, then its leaving is an error."""
    group = comm()
    if here.rank == 1:
        group.send(torch.arange(300_000), 0)
        group.send_object("last words", 0)
        if group.backend == "torch":
            here.wait("received")
        group.close()
        text = expect(DistributedOperationException, lambda: group.recv(0))
        assert "has left the group" in text
        here.wait("told")
        return ""
    assert torch.equal(group.recv(1), torch.arange(300_000))
    assert group.recv_object(1) == "last words"
    here.post("received")
    text = expect(DistributedPeerError, receive)
    here.post("told")
    return text


def test_a_peer_that_leaves(backend):
    text, _ = backend.run(left, size=2, own_group=True)
    assert "rank 1" in text
    assert "left" in text or "lost" in text


def closed_at_once():
    """Leaving waits until what was sent is received."""
    group = comm()
    if here.rank == 1:
        for number in range(4):
            group.send(torch.full((MIB,), number), 0)
        here.post("sent")
        group.close()
        return
    here.wait("sent")
    for number in range(4):
        assert torch.all(group.recv(1) == number)


def test_nothing_is_lost_when_a_rank_leaves(backend):
    backend.run(closed_at_once, size=2, own_group=True)


def interrupted(call):
    group = comm()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        here.kill(0, signal.SIGINT)
        here.wait("interrupted")
        return expect(DistributedOperationException, lambda: group.recv(0))
    here.post("inside")
    expect(KeyboardInterrupt, call)
    here.post("interrupted")
    return "rank 0 was interrupted"


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c(backend, call):
    for outcome in backend.run(interrupted, call, size=2, check=False):
        assert outcome.returned, outcome.report()
        assert "rank 0" in outcome.value


def aborted():
    group = comm()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        group.abort("the test says so")
        return expect(DistributedOperationException, lambda: group.send([], 0))
    here.post("inside")
    return expect(DistributedOperationException, receive)


def test_abort_frees_the_waiter(backend):
    for text in backend.run(aborted, size=2, own_group=True):
        assert "the test says so" in text


def closed_by_a_thread():
    """A thread waits for a message when another closes the communicator."""
    group = comm()
    other = 1 - here.rank
    texts = []

    def wait():
        here.post(("waits", here.rank))
        texts.append(expect(DistributedOperationException, lambda: group.recv(other)))

    thread = threading.Thread(target=wait)
    thread.start()
    for rank in range(2):
        here.wait(("waits", rank))
    group.close()
    thread.join()
    assert group.closed
    return texts


def test_closing_ends_what_other_threads_wait_for(backend):
    for texts in backend.run(closed_by_a_thread, size=2, own_group=True):
        assert len(texts) == 1


def forked():
    """A child gets an error, and the parent goes on."""
    group = comm()
    group.send(torch.ones(1), 1 - here.rank)
    child = os.fork()
    if child == 0:
        failed = 0
        for call in (lambda: group.recv(1 - here.rank), lambda: group.send([], 0)):
            try:
                call()
            except RuntimeError as error:
                failed += "was forked from rank" in str(error)
        os._exit(failed)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2
    assert group.recv(1 - here.rank) == 1


def test_a_forked_child_is_told(shm):
    shm.run(forked, size=2)
