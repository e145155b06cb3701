"""One timeout for the set-up, every operation, the barrier and torch's group."""

from datetime import timedelta

import pytest
import torch

from pyaccel import Accelerator, InitProcessGroupKwargs, PartialState, _group
from pyaccel.utils import broadcast, gather, gather_object
from pyaccel.utils.operations import DistributedOperationException
from tests.harness import here

SHORT = timedelta(seconds=1.5)


def by_handler(timeout):
    """As a script of accelerate's gives it."""
    handler = InitProcessGroupKwargs(timeout=timeout)
    Accelerator(cpu=True, kwargs_handlers=[handler])


def by_state(timeout):
    PartialState(cpu=True, timeout=timeout)


def barrier():
    PartialState().wait_for_everyone()


def gather_one():
    gather(torch.ones(1))


def gather_list():
    gather_object([1])


def broadcast_one():
    broadcast(torch.ones(1), from_process=1)


def first():
    with PartialState().main_process_first():
        pass


def wait_for_who_stays_away(set_up, call):
    """What the others are told when rank 1 sets up and then does not come."""
    here.meet("loaded")  # importing torch is no part of the set-up
    set_up(SHORT)
    if here.rank == 1:
        here.wait("told")
        return None
    with pytest.raises(DistributedOperationException) as caught:
        call()
    here.post("told")
    assert isinstance(caught.value, TimeoutError)
    return str(caught.value)


@pytest.mark.parametrize("set_up", [by_handler, by_state])
@pytest.mark.parametrize(
    "call", [barrier, gather_one, gather_list, broadcast_one, first]
)
def test_operations_obey_the_timeout(ranks, set_up, call):
    text, _ = ranks.run(wait_for_who_stays_away, set_up, call, size=2, own_group=True)
    assert "rank 1" in text
    assert "within 1.5 s" in text


def test_operations_over_torch_obey_the_timeout(backend):
    text, _ = backend.run(
        wait_for_who_stays_away, by_handler, barrier, size=2, own_group=True
    )
    assert "rank 1" in text
    assert "1.5 s" in text


def set_up_alone(set_up):
    """What rank 0 is told when rank 1 never sets up."""
    here.meet("loaded")
    if here.rank == 1:
        here.wait("told")
        return None
    with pytest.raises((ConnectionError, TimeoutError)) as caught:
        set_up(SHORT)
    here.post("told")
    # Nothing is left of the attempt.
    assert PartialState._shared_state == {}
    assert _group.comm is None
    return str(caught.value)


@pytest.mark.parametrize("set_up", [by_handler, by_state])
def test_the_set_up_obeys_the_timeout(each_way, set_up):
    outcomes = each_way.run(set_up_alone, set_up, size=2, own_group=True, check=False)
    assert outcomes[0].returned, outcomes[0].report()
    assert "rank 1" in outcomes[0].value
    assert "within 1." in outcomes[0].value


def timeouts_of(set_up, timeout):
    """What waits how long, in seconds."""
    set_up(timeout)
    group = torch.distributed.distributed_c10d._get_default_group()
    backend = group._get_backend(torch.device("cpu"))
    return _group.comm.timeout, backend.options._timeout.total_seconds()


# Ten minutes and half an hour are defaults, of nccl and of gloo: who asks for them does
# not get the other one.
@pytest.mark.parametrize("seconds", [77, 600, 1800])
@pytest.mark.parametrize("set_up", [by_handler, by_state])
def test_both_groups_have_the_timeout_that_was_asked_for(ranks, set_up, seconds):
    timeout = timedelta(seconds=seconds)
    for found in ranks.run(timeouts_of, set_up, timeout, size=2, own_group=True):
        assert found == (seconds, seconds)


def by_handler_of_gloo(timeout):
    handler = InitProcessGroupKwargs(backend="gloo", timeout=timeout)
    Accelerator(cpu=True, kwargs_handlers=[handler])


def by_empty_handler(timeout):
    Accelerator(cpu=True, kwargs_handlers=[InitProcessGroupKwargs()])


@pytest.mark.parametrize("set_up", [by_handler_of_gloo, by_empty_handler, by_state])
def test_nobody_asked_for_a_timeout(ranks, set_up):
    for found in ranks.run(timeouts_of, set_up, None, size=2, own_group=True):
        assert found == (1800, 1800)


def change(timeout):
    PartialState(cpu=True)
    PartialState._reset_state()
    PartialState(cpu=True, timeout=timeout)
    return _group.comm.timeout


def test_a_later_set_up_changes_the_timeout(ranks):
    assert ranks.run(change, timedelta(seconds=9), size=2, own_group=True) == [9, 9]


@pytest.mark.parametrize(
    ("timeout", "kind"),
    [(3, TypeError), (timedelta(0), ValueError), (timedelta(seconds=-1), ValueError)],
)
def test_what_is_no_timeout(timeout, kind):
    with pytest.raises(kind, match=r"timeout is .*: write timeout=timedelta"):
        PartialState(cpu=True, timeout=timeout)
    assert PartialState._shared_state == {}
