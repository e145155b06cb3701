"""Everything here needs a CUDA GPU, and is skipped for that where there is none."""

from pathlib import Path

import pytest

from tests.gpu import machine
from tests.gpu.ways import APART, SHARED, Gpus
from tests.harness import Ranks

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Skip all without a GPU, and leave out what would only test the same again."""
    items[:] = [item for item in items if not _repeats(item)]
    if reason := machine.needs(1):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


def _repeats(item):
    """How a tensor is read is tested once: the ways carry the same bytes."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if HERE not in item.path.parents or "backend" not in params:
        return False
    if params.get("size") == 1 and params["backend"] != "one GPU, staged":
        return True
    if params.get("path") in ("shim", "attributes"):
        return params["size"] != 2 or params["backend"] != "one GPU, ipc"
    return _in_an_order_of_its_own(item.name, params)


def _in_an_order_of_its_own(name, params):
    """Whether NCCL may add up floats of three ranks and more in another order than the
    contract's reference does: test_reduce.py here tests these sums."""
    if not (name.startswith("test_reduce_") and params["backend"].endswith("nccl")):
        return False
    exact = params.get("dtype", "float").startswith(("int", "uint", "bool"))
    return params.get("size", 2) > 2 and not exact


@pytest.fixture(scope="session")
def ranks():
    """As everywhere; the server leaves CUDA alone, which its forks could not use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        server = Ranks()
        yield server
        server.close()


WAYS = {
    **{f"one GPU, {name}": way for name, way in SHARED.items()},
    **{f"a GPU each, {name}": way for name, way in APART.items()},
}


def _over(name, ranks):
    way = WAYS[name].over(ranks)
    if reason := way.missing():
        pytest.skip(reason)
    return way


@pytest.fixture(params=WAYS)
def backend(request, ranks):
    """Runs functions in groups over each way; the contract knows it by this name."""
    return _over(request.param, ranks)


@pytest.fixture(params=[f"one GPU, {name}" for name in SHARED])
def one_gpu(request, ranks):
    """As `backend`, with all ranks on one GPU."""
    return _over(request.param, ranks)


@pytest.fixture(params=[f"a GPU each, {name}" for name in APART])
def apart(request, ranks):
    """As `backend`, with one GPU a rank."""
    return _over(request.param, ranks)


@pytest.fixture
def own_choice(ranks):
    """Ranks on one GPU that leave the way to the group."""
    return Gpus(None).over(ranks)
