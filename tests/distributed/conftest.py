"""The backends that the contract of the communicator is tested on."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.fakes import environment, on_devices, overlay
from tests.harness import Ranks


@dataclass(frozen=True)
class Backend:
    """A way to make a group, and with it a communicator; later ones join the lists."""

    # What `Comm.backend` says in a group of several ranks.
    name: str
    # How the ranks find each other: see `Ranks.run`.
    via: str
    group_env: dict = field(default_factory=dict)
    # The way between GPUs, if the tensors stand on fake ones.
    way: str | None = None
    ranks: object = None

    def run(self, function, *args, **options):
        """`Ranks.run` with this backend's groups."""
        __tracebackhide__ = True
        if self.way is not None:
            function, args = on_devices.call, (function, *args)
        return self.ranks.run(
            function, *args, via=self.via, group_env=self.group_env, **options
        )


SHM = Backend("shm", "launcher")
# The same segment, passed by rank 0: other code notices a rank's end there.
SHM_BY_VARIABLES = Backend("shm", "variables")
# Over torch.distributed, as between hosts.
TORCH = Backend("torch", "variables", {"PYACCEL_COMM": "torch"})

HERE = Path(__file__).parent

# Tensors on fake GPUs, one a rank, by each way between them.
STAGED = Backend("shm", "launcher", way="staged")
IPC = Backend("shm", "launcher", way="ipc")
NCCL = Backend("shm", "launcher", way="nccl")

# Every backend runs the contract.
CONTRACT = {"shm": SHM, "torch": TORCH, "staged": STAGED, "ipc": IPC, "nccl": NCCL}
# The modules whose tests are about the leaves that a collective takes and gives, which
# may stand on GPUs. Of the others the bytes do not move between these.
MOVING = ("gather", "broadcast", "reduce", "mismatch", "roots", "results", "random")
MOVING += ("repeated", "properties")
RESTING = ("leaves", "pad")
# Over shared memory, set-up and failures differ with the way the ranks came together.
SHARED = {"shm": SHM, "shm-variables": SHM_BY_VARIABLES}


@pytest.fixture(params=CONTRACT.values(), ids=CONTRACT.keys())
def backend(request, ranks):
    """Runs functions in groups of each backend in turn."""
    chosen = request.param
    if chosen.way is None:
        return replace(chosen, ranks=ranks)
    fakes = request.getfixturevalue("fakes")
    env = {
        **environment(devices=on_devices.COUNT),
        "PYACCEL_GPU_WAYS": chosen.way,
    }
    return replace(chosen, ranks=fakes, group_env=env)


@pytest.fixture(scope="session")
def fakes():
    """As `ranks`, of the test build, for groups whose variables name fake libraries."""
    server = Ranks(path=[overlay.make()])
    yield server
    server.close()


@pytest.fixture
def shm(ranks):
    """Runs functions in groups over shared memory, under the launcher's eyes."""
    return replace(SHM, ranks=ranks)


@pytest.fixture(params=SHARED.values(), ids=SHARED.keys())
def each_way(request, ranks):
    """Like `shm`, and without a launcher too."""
    return replace(request.param, ranks=ranks)


def pytest_collection_modifyitems(items):
    """Leave out what only tests the same code again; all folders' tests are here."""
    items[:] = [
        item for item in items if HERE not in item.path.parents or not _repeats(item)
    ]


def _repeats(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    backend = params.get("backend")
    if backend is not None and backend.way is not None:
        return _repeats_on_devices(item, backend, params)
    if params.get("backend") is TORCH:
        # A backend carries bytes: how they are read from tensors was tested with shm,
        # and alone there is none. Each byte is carried in the same way at 2, 3 and 4.
        size = params.get("size")
        return params.get("path") in ("shim", "attributes") or size in (1, 4)
    return params.get("size") == 1 and params.get("each_way") is SHM_BY_VARIABLES


def _repeats_on_devices(item, backend, params):
    name = item.module.__name__.rpartition(".test_")[2]
    size = params.get("size")
    # How tensors are read does not depend on the way, nor on how many ranks there are.
    other_path = params.get("path") in ("shim", "attributes")
    if backend is STAGED:
        return name not in MOVING + RESTING or (other_path and size in (1, 3, 4))
    return (
        name not in MOVING
        or other_path
        or size == 1  # alone there is no way
        or (size == 3 and "dtype" in params)
        or (backend is NCCL and _needs_exact_sums(item, params))
    )


def _needs_exact_sums(item, params):
    """NCCL rounds narrow floats at each step: what it makes of them is tested in
    test_gpus.py."""
    narrow = params.get("dtype") in ("float16", "bfloat16", "complex32")
    mixed = item.originalname == "test_many_and_mixed_leaves"
    drawn = item.module.__name__.endswith("test_properties")  # structures of any dtype
    return (drawn and item.originalname == "test_reduce") or (
        item.module.__name__.endswith("test_reduce") and (narrow or mixed)
    )
