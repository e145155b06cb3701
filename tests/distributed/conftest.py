"""The backends that the contract of the communicator is tested on."""

from dataclasses import dataclass, field, replace

import pytest


@dataclass(frozen=True)
class Backend:
    """A way to make a group, and with it a communicator; later ones join the lists."""

    # What `Comm.backend` says in a group of several ranks.
    name: str
    # How the ranks find each other: see `Ranks.run`.
    via: str
    group_env: dict = field(default_factory=dict)
    ranks: object = None

    def run(self, function, *args, **options):
        """`Ranks.run` with this backend's groups."""
        __tracebackhide__ = True
        return self.ranks.run(
            function, *args, via=self.via, group_env=self.group_env, **options
        )


SHM = Backend("shm", "launcher")
# The same segment, passed by rank 0: other code notices a rank's end there.
SHM_BY_VARIABLES = Backend("shm", "variables")
# Over torch.distributed, as between hosts.
TORCH = Backend("torch", "variables", {"PYACCEL_COMM": "torch"})

# Every backend runs the contract.
CONTRACT = {"shm": SHM, "torch": TORCH}
# Over shared memory, set-up and failures differ with the way the ranks came together.
SHARED = {"shm": SHM, "shm-variables": SHM_BY_VARIABLES}


@pytest.fixture(params=CONTRACT.values(), ids=CONTRACT.keys())
def backend(request, ranks):
    """Runs functions in groups of each backend in turn."""
    return replace(request.param, ranks=ranks)


@pytest.fixture
def shm(ranks):
    """Runs functions in groups over shared memory, under the launcher's eyes."""
    return replace(SHM, ranks=ranks)


@pytest.fixture(params=SHARED.values(), ids=SHARED.keys())
def each_way(request, ranks):
    """Like `shm`, and without a launcher too."""
    return replace(request.param, ranks=ranks)


def pytest_collection_modifyitems(items):
    """Leave out what would only test the same code again."""
    items[:] = [item for item in items if not _repeats(item)]


def _repeats(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if params.get("backend") is TORCH:
        # A backend carries bytes: how they are read from tensors was tested with shm,
        # and alone there is none. Each byte is carried in the same way at 2, 3 and 4.
        size = params.get("size")
        return params.get("path") in ("shim", "attributes") or size in (1, 4)
    return params.get("size") == 1 and params.get("each_way") is SHM_BY_VARIABLES
