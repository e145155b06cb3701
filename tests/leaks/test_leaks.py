"""Every callable of the core, failing paths included, holds no more when repeated."""

import sys

import pytest

from pyaccel import _C
from tests.harness import RankError
from tests.leaks import (  # noqa: F401 - each enters its cases into the table
    channel_cases,
    communicator_cases,
    joint_cases,
    making_cases,
    other_cases,
    store_cases,
    walk_cases,
)
from tests.leaks.measure import find_leaks
from tests.leaks.table import CASES, Given, callables


def run_case(name):
    """What the case leaks in this rank: growth by name, and lost references."""
    from pyaccel import PartialState, _group

    state = PartialState()
    case = CASES[name]
    given = Given(state.process_index)
    calls = 0

    def call():
        nonlocal calls
        calls += 1
        case.function(_group.comm, given)

    call()
    before = given.references()
    leaks = find_leaks(call, case.calls)
    after = given.references()
    # A few references may come and go with caches; a lost one is lost at every call.
    leaks.update(
        (name, after[name] - before[name])
        for name in before
        if abs(after[name] - before[name]) >= case.calls
    )
    return leaks


@pytest.mark.parametrize("name", CASES)
def test_nothing_leaks(ranks, name):
    size = CASES[name].size
    for leaks in ranks.run(run_case, name, size=size, own_group=True, timeout=120):
        assert not leaks


def test_no_callable_is_missing():
    entered = {name for case in CASES.values() for name in case.names}
    assert entered == callables(_C)


kept = []


def keep_an_object():
    kept.append(object())


def keep_memory():
    kept.append(bytearray(2000))


def keep_a_file():
    kept.append(open("/dev/null", "rb", buffering=0))  # noqa: SIM115


def keep_nothing():
    bytearray(100_000)


def measured(function):
    sys.setswitchinterval(10)
    return find_leaks(function, 100)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (keep_an_object, {"blocks"}),
        (keep_memory, {"blocks", "malloc_bytes"}),
        (keep_a_file, {"blocks", "files"}),
        (keep_nothing, set()),
    ],
)
def test_the_measure_finds_what_is_kept(ranks, function, what):
    (found,) = ranks.run(measured, function, size=1, own_group=True)
    assert what <= set(found)
    assert bool(found) == bool(what)


def fail():
    raise ArithmeticError("not hidden")


def test_an_error_in_a_case_is_not_hidden(ranks):
    with pytest.raises(RankError, match="not hidden"):
        ranks.run(measured, fail, size=1, own_group=True)
