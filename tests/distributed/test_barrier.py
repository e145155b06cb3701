"""`wait_for_everyone`: nobody leaves before everybody has come."""

import os

import pytest

from pyaccel import PartialState
from tests.harness import every_size, here


def count_arrivals(descriptor_path, rounds):
    state = PartialState()
    with open(descriptor_path, "ab", buffering=0) as file:
        for step in range(rounds):
            file.write(b".")
            state.wait_for_everyone()
            arrived = os.path.getsize(descriptor_path)
            assert arrived >= (step + 1) * here.size, (step, arrived)
            state.wait_for_everyone()
    return os.path.getsize(descriptor_path)


@every_size
def test_nobody_leaves_early(backend, size, tmp_path):
    path = tmp_path / "arrivals"
    path.touch()
    backend.run(count_arrivals, path, 50, size=size)
    assert path.stat().st_size == 50 * size


def late_arrival():
    state = PartialState()
    state.wait_for_everyone()
    if here.rank == 0:
        for rank in range(1, here.size):
            here.wait_asleep(rank, ("inside", rank))
        here.post("root comes")
        state.wait_for_everyone()
    else:
        here.post(("inside", here.rank))
        state.wait_for_everyone()
        here.wait("root comes")


@pytest.mark.parametrize("size", [2, 4])
def test_waiters_sleep_until_the_last_has_come(each_way, size):
    each_way.run(late_arrival, size=size)


def many_rounds(count):
    state = PartialState()
    for _ in range(count):
        state.wait_for_everyone()


def test_many_rounds(backend):
    backend.run(many_rounds, 2000, size=2)


def test_more_ranks_than_cpus(backend):
    backend.run(many_rounds, 100, size=8)
