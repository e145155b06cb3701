"""The fuzz targets, each for about a second; tests/README.md has more."""

import pytest

from tests.c import runner
from tests.fuzz import build

INPUTS = 100_000


@pytest.mark.parametrize("target", build.targets())
def test_arbitrary_inputs_do_no_harm(target):
    if reason := runner.unavailable("address"):
        pytest.skip(reason)
    status, output = build.run(build.build(target), INPUTS, 1)
    assert status == 0, f"{target} ended with status {status}:\n{output}"
    # Before that the sanitizer may say which requests for memory it has refused.
    assert output.endswith(f"{INPUTS} inputs\n")
