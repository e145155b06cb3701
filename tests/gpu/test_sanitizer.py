"""NVIDIA's compute-sanitizer over a group on one GPU: no access beyond allocations."""

import os
import shutil
import sys

import pytest

from tests.gpu import machine
from tests.gpu.ways import WAYS

SCRIPT = """
    import torch
    from pyaccel import PartialState
    from pyaccel.utils import broadcast, gather, reduce

    state = PartialState(backend="gloo")
    for count in (1, 1000, 300_000):
        own = torch.full((count,), float(state.process_index), device=state.device)
        got = gather(own)
        assert got.sum().item() == count
        assert broadcast(own.clone(), 1).sum().item() == count
        assert reduce({"a": own, "b": [own]}, "sum")["a"].sum().item() == count
    state.destroy_process_group()
"""


# The toolkit's folder is often not in PATH.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"])
SANITIZER = shutil.which("compute-sanitizer", path=PATH)


@pytest.mark.skipif(
    SANITIZER is None, reason="needs compute-sanitizer of CUDA's toolkit"
)
@pytest.mark.parametrize("way", ["ipc", "staged"])
def test_nothing_is_found(fresh, way):
    command = [SANITIZER, "--target-processes", "all", "--error-exitcode", "9"]
    command += [sys.executable, "-m", "pyaccel.commands.launch", "--num_processes=2"]
    environment = {WAYS: way, **machine.one_visible()}
    running = fresh.start([*command, str(fresh.script(SCRIPT))], environment)
    finished = running.finish(240.0)
    assert finished.returncode == 0, finished.stdout + finished.stderr
