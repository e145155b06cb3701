"""A real NCCL, where one is installed, does what our table expects without a GPU."""

import sys
from pathlib import Path

import pytest

from tests.c import runner

HERE = Path(__file__).parent
# All that the tables of csrc/gpu are made of.
SOURCES = ("gpu/*.c", "base/*.c", "sys/library.c")


def nccl():
    """The path of NCCL's library in a wheel, or None."""
    for entry in filter(None, sys.path):
        for path in Path(entry).glob("nvidia/nccl/lib/libnccl.so.2"):
            return path.resolve()
    return None


@pytest.mark.skipif(
    nccl() is None,
    reason="there is no NCCL for GPUs here: pip install -e '.[test-nccl]' (300 MB)",
)
def test_nccl_without_a_gpu(tmp_path):
    program = tmp_path / "nccl_id"
    sources = [
        path for pattern in SOURCES for path in (runner.ROOT / "csrc").glob(pattern)
    ]
    command = [runner.compiler(), *runner.DEFINITIONS, *runner.WARNINGS, "-pthread"]
    command += [HERE / "nccl_id.c", *sources, "-o", program, "-ldl", "-lm"]
    built = runner.run_quietly(command)
    assert built.returncode == 0, built.stdout
    result = runner.run_quietly([program, nccl()])
    assert result.returncode == 0, result.stdout
    version, identities, nbytes = result.stdout.split()
    assert tuple(map(int, version.split("."))) >= (2, 14)
    assert (identities, nbytes) == ("distinct", "128")
