"""The harness as a pytest plugin: the fixtures `ranks` and `fresh`."""

import pytest

from .client import Ranks
from .fresh import Fresh

# Small groups, which every contract is tested with; a run at 8 is asked for by name.
SIZES = (1, 2, 3, 4)

every_size = pytest.mark.parametrize("size", SIZES)


@pytest.fixture(scope="session")
def ranks():
    """Runs a module-level function in a group of processes: see `Ranks.run`."""
    server = Ranks()
    yield server
    server.close()


@pytest.fixture
def fresh(tmp_path):
    """Runs scripts in new interpreters under a launcher: see `Fresh`."""
    runner = Fresh(tmp_path)
    yield runner
    runner.close()
