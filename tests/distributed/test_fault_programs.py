"""Random programs of collectives in which a rank is killed, stops, is late or differs.

None hangs, none gives wrong data, and every rank that goes on is told who is to blame.
A program follows from the number in its test's name: `-k "test_killed and 17"` runs one
again.
"""

import os
import pickle
import re
import signal
import threading
from dataclasses import replace

import pytest

from pyaccel import PartialState, _group
from pyaccel.utils.operations import (
    DistributedOperationException,
    DistributedPeerError,
    DistributedTimeoutError,
    gather_object,
)
from tests.distributed.conftest import TORCH
from tests.distributed.programs import make, perform
from tests.harness import here

# 200 in all. Those that wait for a deadline are fewer.
KILLED, STOPPED, DELAYED, DIVERGING = range(70), range(25), range(40), range(65)
OVER_TORCH = range(6)
# What a rank raises that cannot make its own call; the others raise what it said.
OWN_ERRORS = {"leaf": TypeError, "unpicklable": (AttributeError, pickle.PicklingError)}
# Short, but long enough for ranks that share processors with other work.
DEADLINE = 1.0
# For a whole program; each of its waits ends before.
HANGS = 60.0


def barrier():
    PartialState().wait_for_everyone()


def blamed(error, victim):
    """Whether an error's first line says that a rank is to blame."""
    head = str(error).partition("\n")[0].partition("; only rank")[0]
    named = re.findall(r"\branks? (\d+(?:, \d+)*(?: and \d+)?)", head)
    return any(str(victim) in re.split(r", | and ", numbers) for numbers in named)


def failure_of(step):
    """The error of a step, None if all went well."""
    try:
        perform(step)
    except DistributedOperationException as error:
        return error
    return None


def perform_until_broken(program, inflict):
    """Performs what can be performed; the error that broke the group.

    Every step gives what it must or fails, and after the first failure all do.
    """
    broken = None
    end = replace(program.steps[0], operation="barrier")
    for step in (*program.steps, *[end] * 3):
        if step.number == program.point and step is not end:
            inflict()
        failure = failure_of(step)
        broken = broken or failure
        if broken is not None:
            assert failure is not None, f"{step} went well after {broken}"
            reason = str(broken).partition("\n")[0].partition(": ")[2]
            assert reason in str(failure), f"{failure} is not for {broken}"
    assert broken is not None, "nobody noticed"
    return broken


def killed(seed):
    program = make(seed)

    def inflict():
        if program.by_other and here.rank == program.other:
            here.kill(program.victim)
        elif not program.by_other and here.rank == program.victim:
            here.die()

    barrier()
    error = perform_until_broken(program, inflict)
    assert isinstance(error, DistributedPeerError), error
    assert blamed(error, program.victim), error


def check_killed(way, seed):
    program = make(seed)
    outcomes = way.run(killed, seed, size=program.size, check=False, timeout=HANGS)
    assert outcomes.pop(program.victim).exit == -signal.SIGKILL, program
    for outcome in outcomes:
        assert outcome.returned, f"{program}\n{outcome.report()}"


@pytest.mark.parametrize("seed", KILLED)
def test_killed(shm, seed):
    check_killed(shm, seed)


@pytest.mark.parametrize("seed", OVER_TORCH)
def test_killed_over_torch(ranks, seed):
    check_killed(replace(TORCH, ranks=ranks), seed)


def stopped(seed):
    program = make(seed)
    survivors = [rank for rank in range(here.size) if rank != program.victim]

    def inflict():
        if here.rank != program.victim:
            _group.comm.timeout = DEADLINE
        if program.by_other and here.rank == program.other:
            here.kill(program.victim, signal.SIGSTOP)
        elif not program.by_other and here.rank == program.victim:
            os.kill(os.getpid(), signal.SIGSTOP)

    barrier()
    error = perform_until_broken(program, inflict)
    if here.rank == survivors[0]:
        for rank in survivors[1:]:
            here.wait(("done", rank))
        # It finds that the others have gone.
        here.kill(program.victim, signal.SIGCONT)
    here.post(("done", here.rank))
    assert isinstance(error, DistributedTimeoutError), error
    assert blamed(error, program.victim), error


def check_stopped(way, seed):
    program = make(seed)
    outcomes = way.run(stopped, seed, size=program.size, check=False, timeout=HANGS)
    for outcome in outcomes:
        assert outcome.returned, f"{program}\n{outcome.report()}"


@pytest.mark.parametrize("seed", STOPPED)
def test_stopped(shm, seed):
    check_stopped(shm, seed)


def delayed(seed):
    program = make(seed)
    barrier()
    for step in program.steps:
        if step.number == program.point and here.rank == program.victim:
            threading.Event().wait(program.delay)
        perform(step)


def check_delayed(way, seed):
    program = make(seed)
    outcomes = way.run(delayed, seed, size=program.size, check=False, timeout=HANGS)
    for outcome in outcomes:
        assert outcome.returned, f"{program}\n{outcome.report()}"


@pytest.mark.parametrize("seed", DELAYED)
def test_delayed(shm, seed):
    check_delayed(shm, seed)


def diverging(seed):
    """The call that differs fails on every rank at once; all others are as ever."""
    program = make(seed)
    barrier()
    for step in program.steps:
        if step.number != program.point:
            perform(step)
            continue
        mine = program.change if here.rank == program.victim else ""
        kind = OWN_ERRORS.get(mine, DistributedOperationException)
        with pytest.raises(kind) as caught:
            perform(step, mine)
        assert not isinstance(caught.value, TimeoutError)
        assert kind in OWN_ERRORS.values() or f"rank {program.victim}" in str(
            caught.value
        )
        assert gather_object([here.rank]) == list(range(here.size))


def check_diverging(way, seed):
    program = make(seed)
    outcomes = way.run(diverging, seed, size=program.size, check=False, timeout=HANGS)
    for outcome in outcomes:
        assert outcome.returned, f"{program}\n{outcome.report()}"


@pytest.mark.parametrize("seed", DIVERGING)
def test_diverging(shm, seed):
    check_diverging(shm, seed)


@pytest.mark.parametrize("seed", OVER_TORCH)
def test_diverging_over_torch(ranks, seed):
    check_diverging(replace(TORCH, ranks=ranks), seed)
