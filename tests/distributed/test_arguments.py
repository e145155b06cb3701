"""Arguments of operations that some or all ranks get wrong: every rank says so."""

import os
import re

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
    wrong = here.rank == 1
    own = ("x",) if wrong else ["x"]
    kind = TypeError if wrong else DistributedOperationException
    return refused(lambda: broadcast_object_list(own), kind)


def test_a_tuple_cannot_be_written_into(ranks):
    first, wrong, third = ranks.run(one_tuple, size=3)
    assert "a tuple cannot be written into" in wrong
    assert first == third
    assert "rank 1: broadcast_object_list(no list) from rank 0" in first


def lengths():
    PartialState()
    own = ["x"] * (3 if here.rank == 2 else 2)
    text = refused(lambda: broadcast_object_list(own), DistributedOperationException)
    assert own == ["x"] * len(own)
    return text


def test_lists_of_other_lengths(ranks):
    for text in ranks.run(lengths, size=3):
        assert "rank 0: broadcast_object_list(a list of 2) from rank 0" in text
        assert "rank 2: broadcast_object_list(a list of 3) from rank 0" in text


def absent_root(operation, wrong):
    """The ranks of `wrong` name a root that is not there."""
    PartialState()
    mistaken = here.rank in wrong
    return refused(
        lambda: operation([torch.ones(1)], from_process=2 if mistaken else 0),
        ValueError if mistaken else DistributedOperationException,
    )


@pytest.mark.parametrize("operation", [broadcast, broadcast_object_list])
@pytest.mark.parametrize("wrong", [[0, 1], [1]])
def test_a_root_that_is_not_there(ranks, operation, wrong):
    """The others are told at once: they do not wait for who made the mistake."""
    texts = ranks.run(absent_root, operation, wrong, size=2)
    for rank, text in enumerate(texts):
        if rank in wrong:
            assert "from_process is 2 with 2 processes" in text
        else:
            assert "rank 1 could not take part" in text


def long_text():
    """An error whose text is cut inside a character is the documented error still."""
    PartialState()

    class Unpicklable:
        def __reduce__(self):
            raise RuntimeError("x" + "é" * 200)

    mistaken = here.rank == 1
    return refused(
        lambda: gather_object([Unpicklable()] if mistaken else [1]),
        RuntimeError if mistaken else DistributedOperationException,
    )


def test_texts_beyond_ascii(ranks):
    text, _ = ranks.run(long_text, size=2)
    assert "RuntimeError: xéé" in text
    # Where it stands is not cut with it.
    assert re.search(rf" at .*{os.path.basename(__file__)}:\d+$", text), text


def debug_leaf():
    PartialState()
    mistaken = here.rank == 1
    return refused(
        lambda: gather("x" if mistaken else torch.ones(1)),
        TypeError if mistaken else DistributedOperationException,
    )


def test_debug_mode_tells_of_a_wrong_leaf(ranks):
    text, _ = ranks.run(debug_leaf, size=2, env={"ACCELERATE_DEBUG_MODE": "1"})
    assert "rank 1 could not take part in gather" in text


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
