"""Rank and size from each source, and every way in which they can be wrong."""

import os

import pytest

from pyaccel._world import World, find_world


def test_alone(alone):
    assert find_world() == World(0, 1, 0, 1, -1)


@pytest.mark.parametrize("value", ["", "-1"])
def test_variables_that_say_nothing(alone, value):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        alone(name, value)
    assert find_world() == World()


def test_plain_variables(alone):
    alone("RANK", "5")
    alone("WORLD_SIZE", "8")
    assert find_world() == World(5, 8, 5, 8)
    alone("LOCAL_WORLD_SIZE", "4")
    assert find_world() == World(5, 8, 1, 4)
    alone("LOCAL_RANK", "3")
    assert find_world() == World(5, 8, 3, 4)


def test_one_process_needs_no_rank(alone):
    alone("WORLD_SIZE", "1")
    assert find_world() == World()


def test_the_launchers_descriptor(alone):
    alone("RANK", "1")
    alone("WORLD_SIZE", "2")
    alone("PYACCEL_CONTROL", f"{os.getpid()}:17")
    assert find_world().control_fd == 17


def test_a_child_of_a_worker_is_not_the_worker(alone):
    alone("RANK", "1")
    alone("WORLD_SIZE", "2")
    alone("PYACCEL_CONTROL", f"{os.getppid()}:17")
    assert find_world() == World()


def test_torchrun_inside_a_worker_numbers_its_own(alone):
    alone("RANK", "1")
    alone("WORLD_SIZE", "2")
    alone("PYACCEL_CONTROL", f"{os.getppid()}:17")
    alone("TORCHELASTIC_RUN_ID", "x")
    assert find_world() == World(1, 2, 1, 2)


def test_the_caller_names_rank_and_size(alone):
    alone("RANK", "1")
    alone("WORLD_SIZE", "2")
    assert find_world(0, 4) == World(0, 4, 0, 4)
    with pytest.raises(ValueError, match="rank=0 and world_size=None"):
        find_world(0, None)


WRONG = [
    ({"RANK": "1"}, "RANK is 1 but WORLD_SIZE is not set: set WORLD_SIZE"),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2 but RANK is not set: set RANK"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 but WORLD_SIZE is 2: set RANK to"),
    ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE is 0: set it to 1 or more"),
    ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', not a whole number"),
    ({"RANK": "-2", "WORLD_SIZE": "2"}, "RANK is -2: set it to 0 or more"),
    (
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "3"},
        "LOCAL_WORLD_SIZE is 3 with 2 processes in all",
    ),
    (
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "2"},
        "LOCAL_RANK is 2 but LOCAL_WORLD_SIZE is 2",
    ),
    ({"PYACCEL_CONTROL": "x"}, "PYACCEL_CONTROL is 'x', not <pid>:<descriptor>"),
]


@pytest.mark.parametrize(("variables", "message"), WRONG)
def test_wrong_variables(alone, variables, message):
    for name, value in variables.items():
        alone(name, value)
    with pytest.raises(ValueError, match="^" + message.split(":", 1)[0]) as caught:
        find_world()
    assert message in str(caught.value)


@pytest.mark.parametrize("rank", ["RANK", "LOCAL_RANK"])
def test_every_message_names_a_remedy(alone, rank):
    alone("RANK", "0")
    alone("WORLD_SIZE", "2")
    alone(rank, "9")
    with pytest.raises(ValueError, match=f"set {rank} to a number from 0 to 1"):
        find_world()
