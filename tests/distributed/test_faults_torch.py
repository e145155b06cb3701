"""Failures over torch.distributed, where less can be known of who failed, and later."""

import contextlib
import io
import re
import signal
import sys
import time
from dataclasses import replace

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
from tests.distributed.conftest import TORCH
from tests.harness import here

# A rank may listen a while for what the others know before it says what it knows.
QUICKLY = 20.0


@pytest.fixture
def over_torch(ranks):
    return replace(TORCH, ranks=ranks)


def barrier():
    PartialState().wait_for_everyone()


def gather_large():
    gather(torch.full((8 << 20,), here.rank, dtype=torch.uint8))


def gather_text():
    gather_object(["x" * 1000])


def expect(kind, call):
    """Call what must fail in time; the text of how it failed."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - began < QUICKLY
    return str(caught.value)


def expect_broken():
    for call in (barrier, gather_large, gather_text):
        expect(DistributedOperationException, call)


def expect_at_last(call):
    """Like `expect` for a rank that comes late: of what the others had sent before they
    gave up, one operation may still be complete for it."""
    with contextlib.suppress(DistributedOperationException):
        call()
    expect(DistributedOperationException, call)


def killed(call, victim):
    barrier()
    if here.rank == victim:
        here.die()
    here.wait_ended(victim)
    text = expect(DistributedPeerError, call)
    expect_broken()
    return text


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("call", [barrier, gather_large])
def test_a_killed_rank(over_torch, victim, call):
    outcomes = over_torch.run(killed, call, victim, size=3, check=False)
    assert outcomes.pop(victim).exit == -signal.SIGKILL
    for outcome in outcomes:
        assert outcome.returned, outcome.report()
        assert f"torch: rank {victim} (pid " in outcome.value
        assert "ended without leaving the group, " in outcome.value


def left(call):
    barrier()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        PartialState().destroy_process_group()
        return ""
    here.post("inside")
    return expect(DistributedPeerError, call)


@pytest.mark.parametrize("call", [barrier, gather_text])
def test_a_rank_that_leaves(over_torch, call):
    text, _ = over_torch.run(left, call, size=2, own_group=True)
    name = {barrier: "wait_for_everyone", gather_text: "gather_object"}[call]
    said = rf" has left the group without entering {name} \(operation \d+\) at "
    assert re.search(rf"rank 1 \(pid \d+ on host [^)]*\){said}", text), text


def absent(call):
    barrier()
    if here.rank == 1:
        here.wait("told")
        expect_at_last(call)
        return ""
    _group.comm.timeout = 0.5
    text = expect(DistributedTimeoutError, call)
    here.post("told")
    return text


@pytest.mark.parametrize("call", [barrier, gather_text])
def test_a_rank_that_stays_away(over_torch, call):
    first, _ = over_torch.run(absent, call, size=2)
    assert "rank 1" in first
    assert "0.5 s" in first


def interrupted(call):
    barrier()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        here.kill(0, signal.SIGINT)
        here.wait("interrupted")
        expect_at_last(call)
        return
    here.post("inside")
    expect(KeyboardInterrupt, call)
    here.post("interrupted")


@pytest.mark.parametrize("call", [barrier, gather_text])
def test_ctrl_c_in_a_waiting_rank(over_torch, call):
    for outcome in over_torch.run(interrupted, call, size=2, check=False):
        assert outcome.returned, outcome.report()


def aborted():
    barrier()
    if here.rank == 1:
        here.wait_asleep(0, "inside")
        _group.comm.abort("the test says so")
        return "the test says so"
    here.post("inside")
    return expect(DistributedOperationException, barrier)


def test_abort_frees_the_waiter(over_torch):
    assert all("the test says so" in text for text in over_torch.run(aborted, size=2))


class Posting(io.StringIO):
    """A stream that tells the other ranks what was written to it."""

    def write(self, text):
        here.post(("said", here.rank))
        return super().write(text)


def waits_long(call):
    barrier()
    if here.rank == 1:
        # It comes once the others have said for whom they wait.
        here.wait(("said", 0))
        here.wait(("said", 2))
        call()
        return ""
    with pytest.MonkeyPatch.context() as patch:
        _group.comm.patience = 0.2
        patch.setattr(sys, "stderr", Posting())
        call()
        return sys.stderr.getvalue()


@pytest.mark.parametrize("call", [barrier, gather_text])
def test_a_long_wait_is_said_once(over_torch, call):
    name = {barrier: "wait_for_everyone", gather_text: "gather_object"}[call]
    lines = over_torch.run(waits_long, call, size=3)
    for rank in (0, 2):
        line = rf"pyaccel: rank {rank} has waited \d+ s in {name} for .*:\n"
        assert re.match(line, lines[rank]), lines
    # Who says it last has heard of all that wait.
    assert any(" for rank 1:\n" in line for line in lines), lines
