"""Rank and size from each source, and every way in which they can be wrong."""

import os
import subprocess
import sys

import pytest

from pyaccel import _control
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


@pytest.fixture
def worker():
    """Starts what passes for a worker, of which this process is then a child."""
    started = []

    def start(*command):
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return started[-1].pid

    yield start
    for process in started:
        process.communicate()


PYTHON = (sys.executable, "-c", "input()")


@pytest.mark.parametrize("fd", [17, -1])
def test_a_child_of_a_worker_is_not_the_worker(alone, worker, fd):
    variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "7"}
    for name, value in variables.items():
        alone(name, value)
    alone("PYACCEL_CONTROL", _control.compose(worker(*PYTHON), fd, variables))
    assert find_world() == World()


@pytest.mark.parametrize(
    "name", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"]
)
def test_a_child_with_numbers_of_its_own_is_a_rank(alone, worker, name):
    variables = {"RANK": "1", "WORLD_SIZE": "2"}
    alone("PYACCEL_CONTROL", _control.compose(worker(*PYTHON), 17, variables))
    for other, value in (variables | {name: "3"}).items():
        alone(other, value)
    if name == "RANK":
        alone(name, "0")
    assert find_world().control_fd == -1
    assert find_world().size == (3 if name == "WORLD_SIZE" else 2)


def test_a_program_around_the_script_is_not_the_worker(alone, worker):
    """A shell that starts the script does not take the rank itself."""
    variables = {"RANK": "1", "WORLD_SIZE": "2"}
    for name, value in variables.items():
        alone(name, value)
    alone("PYACCEL_CONTROL", _control.compose(worker("cat"), 17, variables))
    assert find_world() == World(1, 2, 1, 2)


def test_a_rank_knows_itself(alone):
    alone("RANK", "1")
    alone("WORLD_SIZE", "2")
    alone("PYACCEL_CONTROL", "")
    _control.set_for_children()
    assert find_world() == World(1, 2, 1, 2)


@pytest.mark.parametrize("mpi", ["OMPI_COMM_WORLD_", "PMI_"])
def test_numbers_of_two_launchers(alone, mpi):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        alone(name, value)
    alone(f"{mpi}RANK", "1")
    alone(f"{mpi}SIZE", "2")
    with pytest.raises(ValueError, match=f"^RANK is 0 but {mpi}RANK is 1") as caught:
        find_world()
    assert f"set RANK to 1 in this process, or unset {mpi}RANK" in str(caught.value)
    # One launcher of several processes on each of two hosts that MPI started.
    alone("WORLD_SIZE", "4")
    assert find_world() == World(0, 4, 0, 4)
    # torchrun on them, which gives out numbers of its own.
    alone("WORLD_SIZE", "2")
    alone("TORCHELASTIC_RUN_ID", "x")
    assert find_world() == World(0, 2, 0, 2, torchrun=True)


def test_the_caller_names_rank_and_size(alone):
    alone("RANK", "1")
    alone("WORLD_SIZE", "2")
    assert find_world(0, 4) == World(0, 4, 0, 4)
    with pytest.raises(ValueError, match="rank=0 and world_size=None"):
        find_world(0, None)
    with pytest.raises(ValueError, match="rank is 4 but world_size is 4: set rank"):
        find_world(4, 4)


def test_local_numbers_of_another_group_do_not_count(alone):
    alone("RANK", "0")
    alone("WORLD_SIZE", "2")
    alone("LOCAL_RANK", "0")
    alone("LOCAL_WORLD_SIZE", "1")
    assert find_world(0, 2) == World(0, 2, 0, 1)
    assert find_world(1, 2) == World(1, 2, 1, 2)
    assert find_world(0, 3) == World(0, 3, 0, 3)
    alone("RANK", "nonsense")
    assert find_world(0, 2) == World(0, 2, 0, 2)


WRONG = [
    ({"RANK": "1"}, "RANK is 1 but WORLD_SIZE is not set: set WORLD_SIZE"),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2 but RANK is not set: set RANK"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 but WORLD_SIZE is 2: set RANK to"),
    ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE is 0: set it to 1 or more"),
    ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', not a whole number"),
    ({"RANK": "-2", "WORLD_SIZE": "2"}, "RANK is -2: set it to 0 or more"),
    (
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "3"},
        "LOCAL_WORLD_SIZE is 3 but WORLD_SIZE is 2: set LOCAL_WORLD_SIZE to",
    ),
    (
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "2"},
        "LOCAL_RANK is 2 but LOCAL_WORLD_SIZE is 2",
    ),
    (
        {"PYACCEL_CONTROL": "x"},
        "PYACCEL_CONTROL is 'x', not <pid>:<descriptor>:<identity>",
    ),
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
