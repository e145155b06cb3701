"""Ranks that do not come: the others are told who waits where, and what came last."""

import os
import re
import sys

import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils import (
    broadcast,
    broadcast_object_list,
    gather,
    gather_object,
    pad_across_processes,
    reduce,
)
from pyaccel.utils.operations import (
    DistributedOperationException,
    DistributedPeerError,
    DistributedTimeoutError,
    copy_tensor_to_devices,
)
from tests.harness import here

THIS = re.escape(__file__)


def barrier():
    PartialState().wait_for_everyone()


def gather_one():
    gather(torch.ones(1))


def gather_large():
    gather(torch.ones(3 << 20))


def main_alone():
    """The main process is in an operation that the others never enter."""
    barrier()
    if here.rank != 0:
        here.wait("told")
        return ""
    _group.comm.timeout = 0.3
    with pytest.raises(DistributedTimeoutError) as caught:
        gather_one()
    assert isinstance(caught.value, DistributedOperationException)
    assert isinstance(caught.value, TimeoutError)
    here.post("told")
    return str(caught.value)


def test_who_waits_where_and_what_came_last(backend):
    text, *_ = backend.run(main_alone, size=3, own_group=True)
    head, *lines = text.splitlines()
    assert head.startswith(f"gather on {backend.name}: ranks 1 and 2 did not arrive")
    assert head.endswith("within 0.3 s; only rank 0 entered it:")
    numbers = []
    for rank, line in zip((1, 2), lines, strict=False):
        last = rf"  - rank {rank}: has not come; it was last in wait_for_everyone "
        numbers.append(int(re.match(last + r"\(operation (\d+)\)", line)[1]))
    waits = rf"  - rank 0: waits in gather \(operation (\d+)\) at {THIS}:\d+"
    assert [int(re.fullmatch(waits, lines[2])[1]) - 1] * 2 == numbers


def one_is_late():
    """Ranks 0 and 2 wait in one operation for long enough to say where."""
    barrier()
    if here.rank == 1:
        here.wait("told")
        return ""
    _group.comm.timeout = 0.5
    with pytest.raises(DistributedTimeoutError) as caught:
        reduce(torch.ones(1))
    here.post("told")
    return str(caught.value)


def test_all_that_wait_are_listed(backend):
    first, _, last = backend.run(one_is_late, size=3, own_group=True)
    assert first == last
    assert "rank 1 did not arrive within 0.5 s; only ranks 0 and 2 entered it" in first
    for rank in (0, 2):
        assert re.search(rf"- rank {rank}: waits in reduce .* at {THIS}:\d+", first)


def known_position():
    """A rank that does not come waited long in the operation before: it is known."""
    barrier()
    if here.rank == 0:
        here.wait_asleep(1, "inside")
        here.wait("long")
        barrier()
        _group.comm.timeout = 0.3
        with pytest.raises(DistributedTimeoutError) as caught:
            gather_one()
        here.post("told")
        return str(caught.value)
    here.post("inside")
    with pytest.MonkeyPatch.context() as patch:
        _group.comm.patience = 0.05
        patch.setattr(sys, "stderr", Posting())
        barrier()
    here.wait("told")
    return ""


class Posting:
    """A stream that tells the other ranks that something was written to it."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        here.post("long")

    def flush(self):
        """There is nothing to write out."""


def test_the_position_of_who_does_not_come(backend):
    text, _ = backend.run(known_position, size=2, own_group=True)
    last = r"it was last in wait_for_everyone \(operation \d+\)"
    assert re.search(rf"rank 1: has not come; {last} at {THIS}:\d+\n", text), text


def waits_long(call):
    barrier()
    if here.rank == 1:
        here.wait("long")
        call()
        return ""
    with pytest.MonkeyPatch.context() as patch:
        _group.comm.patience = 0.2
        patch.setattr(sys, "stderr", Posting())
        call()
        return sys.stderr.text


@pytest.mark.parametrize("call", [barrier, gather_one, gather_large])
def test_a_long_wait_is_said_once_with_positions(backend, call):
    text, _ = backend.run(waits_long, call, size=2, own_group=True)
    name = "wait_for_everyone" if call is barrier else "gather"
    assert text.startswith(f"pyaccel: rank 0 has waited 0 s in {name} for rank 1:\n")
    assert "- rank 1: has not come; it was last in wait_for_everyone" in text
    assert re.search(rf"- rank 0: waits in {name} .* at {THIS}:\d+\n$", text)
    assert text.count("has waited") == 1


def first(name):
    with getattr(PartialState(), name)():
        pass


# Every operation, and how it is called where the ranks' calls are listed.
CALLS = {
    "wait_for_everyone": (barrier, "wait_for_everyone"),
    "gather": (gather_one, "gather of"),
    "gather_object": (lambda: gather_object([1]), "gather_object at"),
    "broadcast": (lambda: broadcast(torch.ones(1)), "broadcast from rank 0 of"),
    "broadcast_object_list": (
        lambda: broadcast_object_list([1]),
        "broadcast_object_list(a list of 1) from rank 0 at",
    ),
    "reduce": (lambda: reduce(torch.ones(1)), "reduce(mean, scale=1) of"),
    "pad": (lambda: pad_across_processes(torch.ones(1)), "pad_across_processes("),
    "copy": (
        lambda: copy_tensor_to_devices(torch.ones(1) if here.rank == 0 else None),
        "(for copy_tensor_to_devices) at",
    ),
    "first": (
        lambda: first("main_process_first"),
        "(for main_process_first) at",
    ),
    "local first": (
        lambda: first("local_main_process_first"),
        "(for local_main_process_first) at",
    ),
}


def differs(name):
    """Rank 1 makes another call than rank 0."""
    barrier()
    other = "gather" if name == "reduce" else "reduce"
    call, _ = CALLS[name if here.rank == 0 else other]
    with pytest.raises(DistributedOperationException) as caught:
        call()
    assert gather_object([here.rank]) == [0, 1]
    return str(caught.value)


@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_listed_with_its_line(backend, name):
    first, second = backend.run(differs, name, size=2)
    assert first == second
    own = first.splitlines()[1]
    assert own.startswith("  - rank 0: ")
    assert CALLS[name][1] in own
    assert re.search(rf" at {THIS}:\d+$", own)


def goes_on():
    """The main process alone gathers, and all then come to another operation."""
    barrier()
    with pytest.raises(DistributedOperationException) as caught:
        if here.rank == 0:
            gather_one()
        else:
            barrier()
    assert gather_object([here.rank]) == list(range(here.size))
    return str(caught.value)


def test_an_operation_that_others_pass_by(backend):
    texts = backend.run(goes_on, size=3)
    assert len(set(texts)) == 1
    assert (
        "only rank 0 entered gather, and only ranks 1 and 2 entered wait_for_everyone;"
    ) in texts[0]
    for rank in range(3):
        assert re.search(rf"- rank {rank}: .* at {THIS}:\d+", texts[0])


def ends_before(code):
    barrier()
    if here.rank == 1:
        sys.exit(code)
    with pytest.raises(DistributedPeerError) as caught:
        gather_one()
    return str(caught.value)


@pytest.mark.parametrize("code", [0, 3])
def test_who_ends_without_entering(shm, code):
    outcomes = shm.run(ends_before, code, size=2, check=False, own_group=True)
    text = outcomes[0].value
    assert re.fullmatch(
        rf"gather on shm: rank 1 exited with code {code} without entering gather "
        rf"\(operation \d+\) at {THIS}:\d+; it was last in wait_for_everyone "
        r"\(operation \d+\)",
        text,
    ), text


def dies_in_the_middle():
    barrier()
    if here.rank == 1:
        here.post("inside")
        gather_large()
    here.wait_asleep(1, "inside")
    here.kill(1)
    here.wait_ended(1)
    with pytest.raises(DistributedPeerError) as caught:
        gather_large()
    return str(caught.value)


def test_who_ends_in_the_middle(shm):
    outcomes = shm.run(dies_in_the_middle, size=2, check=False, own_group=True)
    assert "rank 1 was killed by SIGKILL in the middle of gather" in outcomes[0].value


def dies_unseen():
    barrier()
    if here.rank == 1:
        here.die()
    with pytest.raises(DistributedPeerError) as caught:
        broadcast(torch.ones(1), from_process=1)
    return str(caught.value), here.pids[1], os.uname().nodename


def test_without_a_launcher_pid_and_host_are_said(each_way):
    outcomes = each_way.run(dies_unseen, size=2, check=False, own_group=True)
    text, pid, host = outcomes[0].value
    if each_way.via == "variables":
        assert f"rank 1 (pid {pid} on host {host}) ended without leaving" in text
    else:
        assert "rank 1 was killed by SIGKILL" in text
