"""Arguments of operations that some or all ranks get wrong: every rank says so."""

import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils import (
    broadcast,
    broadcast_object_list,
    gather,
    gather_object,
)
from pyaccel.utils.operations import DistributedOperationException
from tests.harness import here


def refused(function, kind):
    """What a call says that must fail; the group is still in step afterwards."""
    with pytest.raises(kind) as caught:
        function()
    assert gather_object([here.rank]) == list(range(here.size))
    return str(caught.value)


def one_tuple():
    PartialState()
    own = ("x",) if here.rank == 1 else ["x"]
    return refused(lambda: broadcast_object_list(own), TypeError)


def test_a_tuple_cannot_be_written_into(ranks):
    for text in ranks.run(one_tuple, size=3):
        assert "rank 1 passed a tuple" in text


def lengths():
    PartialState()
    own = ["x"] * (3 if here.rank == 2 else 2)
    text = refused(lambda: broadcast_object_list(own), ValueError)
    assert own == ["x"] * len(own)
    return text


def test_lists_of_other_lengths(ranks):
    for text in ranks.run(lengths, size=3):
        assert "rank 0 passed a list of 2 and rank 2 one of 3" in text


def absent_root(operation):
    PartialState()
    return refused(lambda: operation([torch.ones(1)], from_process=2), ValueError)


@pytest.mark.parametrize("operation", [broadcast, broadcast_object_list])
def test_a_root_that_is_not_there(ranks, operation):
    for text in ranks.run(absent_root, operation, size=2):
        assert "from_process is 2 with 2 processes" in text


def debug_device():
    state = PartialState()
    state.device = torch.device("meta")
    return refused(lambda: gather(torch.ones(1)), DistributedOperationException)


def test_debug_mode_refuses_another_device(ranks):
    for text in ranks.run(debug_device, env={"ACCELERATE_DEBUG_MODE": "1"}):
        assert "were not on the cpu while the `Accelerator` is configured for" in text


def out_of_step():
    """One rank gathers while the others let the main process go first."""
    state = PartialState()
    with pytest.raises(DistributedOperationException):
        if here.rank == 1:
            gather_object([1])
        else:
            with state.main_process_first():
                pass


def test_a_gather_is_not_taken_for_ours(ranks):
    ranks.run(out_of_step, size=2, own_group=True)
