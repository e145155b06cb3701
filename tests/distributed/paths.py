"""The ways in which the core reads tensors and makes results; each can be forced."""

import pytest

from pyaccel import _C, PartialState

every_path = pytest.mark.parametrize("path", ["exchange", "shim", "attributes"])


def use_path(path):
    """Set the state up, with tensors read by `path` until the end of this run."""
    PartialState()
    _C.force_tensor_path(path)
