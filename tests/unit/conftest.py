"""What tests in this one process share: a process that nobody launched."""

import os

import pytest

from pyaccel.state import AcceleratorState

PREFIXES = (
    *("ACCELERATE_", "LOCAL_", "MASTER_", "OMPI_", "PMI_", "PYACCEL_CONTROL"),
    *("PYACCEL_SECRET", "TORCHELASTIC_"),
)
NAMES = ("FORK_LAUNCHED", "RANK", "WORLD_SIZE")


@pytest.fixture
def alone(monkeypatch):
    """No launcher's variables and no state, before and after; gives `setenv`."""
    for name in list(os.environ):
        if name in NAMES or name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield monkeypatch.setenv
    AcceleratorState._reset_state(reset_partial_state=True)
