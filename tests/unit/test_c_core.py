"""The C tests of the core, each program under the sanitizers that concern it."""

import functools

import pytest

from tests.c import runner

CASES = [(name, kind) for name in runner.programs() for kind in runner.kinds_of(name)]

unavailable = functools.cache(runner.unavailable)


@pytest.mark.parametrize(("program", "kind"), CASES)
def test_program_passes_under_sanitizer(program, kind):
    if reason := unavailable(kind):
        pytest.skip(reason)
    status, output = runner.run(runner.build(program, kind))
    assert status == 0, f"{program} ended with status {status}:\n{output}"


def test_planted_race_is_found():
    """The thread sanitizer sees what ranks do to each other in the segment."""
    if reason := unavailable("thread"):
        pytest.skip(reason)
    status, output = runner.run(runner.build("planted_race", "thread"))
    assert status != 0
    assert "data race" in output
    assert "peek_too_early" in output
