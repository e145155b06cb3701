"""The fakes under the sanitizers, with ranks that are threads of one program."""

import pytest

from tests import fakes
from tests.c import runner


def build_program(sanitizer, folder):
    """Links threads.c with the fakes of that sanitizer; the path of the program."""
    paths = fakes.build(sanitizer)
    program = folder / "threads"
    command = [runner.compiler(), *runner.DEFINITIONS, *runner.WARNINGS, "-O1", "-g"]
    command += [*runner.SANITIZERS[sanitizer], fakes.HERE / "threads.c"]
    command += [
        paths["nccl"],
        paths["cudart"],
        "-pthread",
        f"-Wl,-rpath,{paths['nccl'].parent}",
    ]
    result = runner.run_quietly([*command, "-o", program])
    assert result.returncode == 0, result.stdout
    return program


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_ranks_that_are_threads(sanitizer, tmp_path):
    if reason := runner.unavailable(sanitizer):
        pytest.skip(reason)
    status, output = runner.run(build_program(sanitizer, tmp_path))
    assert status == 0, output
