"""The backends that the contract of the communicator is tested on."""

from dataclasses import dataclass, replace

import pytest


@dataclass(frozen=True)
class Backend:
    """A way to make a group, and with it a communicator; later ones join the lists."""

    # What `Comm.backend` says in a group of several ranks.
    name: str
    # How the ranks find each other: see `Ranks.run`.
    via: str
    ranks: object = None

    def run(self, function, *args, **options):
        """`Ranks.run` with this backend's groups."""
        __tracebackhide__ = True
        return self.ranks.run(function, *args, via=self.via, **options)


SHM = Backend("shm", "launcher")
# The same segment, passed by rank 0: other code notices a rank's end there.
SHM_BY_VARIABLES = Backend("shm", "variables")

# Every backend runs the whole contract.
CONTRACT = {"shm": SHM}
# Set-up and failures differ with the way that the ranks found each other, too.
WAYS = {**CONTRACT, "shm-variables": SHM_BY_VARIABLES}


@pytest.fixture(params=CONTRACT.values(), ids=CONTRACT.keys())
def backend(request, ranks):
    """Runs functions in groups of each backend in turn."""
    return replace(request.param, ranks=ranks)


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def each_way(request, ranks):
    """Like `backend`, and in each way to set its groups up."""
    return replace(request.param, ranks=ranks)
