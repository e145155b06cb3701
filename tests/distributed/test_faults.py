"""Ranks that end, stop, stay away or are interrupted: what the others are told."""

import contextlib
import os
import signal
import time

import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils.operations import (
    DistributedOperationException,
    DistributedPeerError,
    DistributedTimeoutError,
    gather,
    gather_object,
)
from tests.harness import here

# Generous: the machine may be busy. A rank that is not told waits half an hour.
QUICKLY = 10.0
MIB = 1 << 20


def barrier():
    PartialState().wait_for_everyone()


def gather_large():
    gather(torch.full((8 * MIB,), here.rank, dtype=torch.uint8))


def gather_text():
    gather_object(["x" * 1000])


def expect(kind, call, *words):
    """Call what must fail; returns how long that took."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return time.monotonic() - began


def expect_broken():
    """Every further use says that the group is broken, at once."""
    for call in (barrier, gather_large, gather_text):
        assert expect(DistributedOperationException, call) < QUICKLY
    assert _group.comm.broken


def killed_before(call, victim):
    barrier()
    if here.rank == victim:
        here.die()
    here.wait_ended(victim)
    taken = expect(DistributedPeerError, call, f"rank {victim}")
    expect_broken()
    return taken


def survivors(outcomes, victim, exit_code=-signal.SIGKILL):
    """The outcomes of all ranks but the victim, each of which returned."""
    assert outcomes[victim].exit == exit_code
    rest = [outcome for outcome in outcomes if outcome.rank != victim]
    for outcome in rest:
        assert outcome.returned, outcome.report()
        assert outcome.value is None or outcome.value < QUICKLY
    return rest


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("call", [barrier, gather_large, gather_text])
def test_killed_before(shm, size, call):
    victim = size - 1
    survivors(shm.run(killed_before, call, victim, size=size, check=False), victim)


@pytest.mark.parametrize("victim", [0, 1])
def test_killed_before_in_each_way(each_way, victim):
    outcomes = each_way.run(killed_before, barrier, victim, size=3, check=False)
    survivors(outcomes, victim)


def killed_inside(call, victim):
    """The victim and rank 2 are asleep in the collective when the victim is killed."""
    barrier()
    killer = 1 - victim
    if here.rank == killer:
        here.wait_asleep(victim, ("inside", victim))
        here.wait_asleep(2, ("inside", 2))
        here.kill(victim)
        here.wait_ended(victim)
    here.post(("inside", here.rank))
    if call is barrier:
        # The victim had come to this one, so it may be complete for all others.
        with contextlib.suppress(DistributedPeerError):
            barrier()
    taken = expect(DistributedPeerError, call, f"rank {victim}")
    expect_broken()
    return taken


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("call", [barrier, gather_large, gather_text])
def test_killed_inside(each_way, victim, call):
    outcomes = each_way.run(killed_inside, call, victim, size=3, check=False)
    survivors(outcomes, victim)


def killed_after(victim):
    barrier()
    gather_large()
    if here.rank == victim:
        here.die()
    # Its bytes of the last operation are complete for everybody.
    got = gather_or_error(victim)
    here.wait_ended(victim)
    expect_broken()
    return got


def gather_or_error(victim):
    return expect(DistributedPeerError, gather_text, f"rank {victim}")


def test_killed_after(each_way):
    survivors(each_way.run(killed_after, 1, size=3, check=False), 1)


def killed_at_any_point(moment):
    """The victim is killed by a timer while all ranks exchange as fast as they can."""
    barrier()
    if here.rank == 1:
        signal.setitimer(signal.ITIMER_REAL, moment)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with pytest.raises(DistributedPeerError, match="rank 1"):
        while True:
            gather_large()
            gather_text()
            barrier()
    expect_broken()


@pytest.mark.parametrize("milliseconds", [1, 3, 7, 20, 50])
def test_killed_at_any_point(shm, milliseconds):
    outcomes = shm.run(killed_at_any_point, milliseconds / 1e3, size=3, check=False)
    survivors(outcomes, 1, -signal.SIGALRM)


def ends_with(code):
    barrier()
    if here.rank == 1:
        os._exit(code)
    return expect(DistributedPeerError, barrier, "rank 1", f"code {code}")


@pytest.mark.parametrize("code", [0, 3])
def test_the_launcher_tells_the_exit_code(shm, code):
    survivors(shm.run(ends_with, code, size=3, check=False), 1, code)


def killed_by_name():
    barrier()
    if here.rank == 1:
        here.die(signal.SIGSEGV)
    here.wait_ended(1)
    return expect(DistributedPeerError, barrier, "rank 1", "SIGSEGV")


def test_the_launcher_tells_the_signal(shm):
    outcomes = shm.run(killed_by_name, size=2, check=False)
    survivors(outcomes, 1, -signal.SIGSEGV)


def stopped(call):
    barrier()
    if here.rank == 1:
        here.post("stopping")
        os.kill(os.getpid(), signal.SIGSTOP)
        # It runs again when all others are done, and finds the group broken.
        expect(DistributedOperationException, call)
        return None
    here.wait("stopping")
    here.wait_state(1, "T")
    _group.comm.timeout = 0.5
    taken = expect(DistributedOperationException, call, "rank 1")
    here.post(("done", here.rank))
    if here.rank == 0:
        for rank in range(2, here.size):
            here.wait(("done", rank))
        here.kill(1, signal.SIGCONT)
    return taken


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("call", [barrier, gather_large, gather_text])
def test_a_stopped_rank_is_missed_at_the_deadline(each_way, size, call):
    for outcome in each_way.run(stopped, call, size=size, check=False):
        assert outcome.returned, outcome.report()
        assert outcome.value is None or 0.4 < outcome.value < QUICKLY


def absent():
    barrier()
    if here.rank == 1:
        for rank in (0, 2):
            here.wait(("told", rank))
        expect(DistributedOperationException, barrier)
        return None
    _group.comm.timeout = 0.3
    taken = expect(DistributedTimeoutError, barrier, "rank 1", "0.3")
    here.post(("told", here.rank))
    return taken


def test_a_rank_that_stays_away_is_named_at_the_deadline(shm):
    outcomes = shm.run(absent, size=3, check=False)
    # Whoever waits longest gives up first; the others hear of it.
    for outcome in outcomes:
        assert outcome.returned, outcome.report()


def interrupted(call):
    barrier()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        here.kill(0, signal.SIGINT)
        here.wait("interrupted")
        expect(DistributedOperationException, call)
        return None
    here.post("inside")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        call()
    here.post("interrupted")
    return time.monotonic() - began


@pytest.mark.parametrize("call", [barrier, gather_large, gather_text])
def test_ctrl_c_in_a_waiting_rank(shm, call):
    for outcome in shm.run(interrupted, call, size=2, check=False):
        assert outcome.returned, outcome.report()
        assert outcome.value is None or outcome.value < QUICKLY


class Stop(Exception):
    """What a signal handler of a script may raise."""


def interrupted_by_handler():
    barrier()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        here.kill(0, signal.SIGUSR1)
        here.wait("handled")
        return

    def handle(number, frame):
        raise Stop

    signal.signal(signal.SIGUSR1, handle)
    here.post("inside")
    with pytest.raises(Stop):
        barrier()
    here.post("handled")


def test_a_signal_handler_may_raise(shm):
    shm.run(interrupted_by_handler, size=2, own_group=True)


def handled_and_continued():
    barrier()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        here.kill(0, signal.SIGUSR1)
        here.wait("handled")
        barrier()
        return
    signal.signal(signal.SIGUSR1, lambda number, frame: here.post("handled"))
    here.post("inside")
    barrier()


def test_a_signal_handler_may_return(shm):
    shm.run(handled_and_continued, size=2, own_group=True)


def aborted():
    barrier()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        _group.comm.abort("the test says so")
        expect_broken()
        return None
    here.post("inside")
    taken = expect(DistributedOperationException, barrier, "the test says so")
    expect_broken()
    return taken


def test_abort_frees_every_waiter(each_way):
    for value in each_way.run(aborted, size=3):
        assert value is None or value < QUICKLY


def left():
    barrier()
    state = PartialState()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        state.destroy_process_group()
        return None
    here.post("inside")
    return expect(DistributedPeerError, barrier, "rank 1")


def test_a_rank_that_leaves_is_named(each_way):
    for outcome in each_way.run(left, size=2, check=False):
        assert outcome.returned, outcome.report()
