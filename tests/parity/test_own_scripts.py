"""accelerate's own test scripts, as installed, with pyaccel in its place."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest


def with_pyaccel(name):
    """A script's text with its imports of accelerate rewritten."""
    path = Path(
        find_spec("accelerate.test_utils.scripts").submodule_search_locations[0]
    )
    text = (path / f"{name}.py").read_text(encoding="utf-8")
    text, count = re.subn(r"(?m)^(\s*(?:from|import) )accelerate\b", r"\1pyaccel", text)
    assert count > 0
    assert not re.search(r"(?m)^\s*(from|import) accelerate\b", text)
    return text


@pytest.mark.parametrize("size", [1, 2, 3])
def test_operations(fresh, size):
    result = fresh.launch(with_pyaccel("test_ops"), size=size).check()
    assert f"Num processes: {size}" in result.stdout
    assert "testing sending tensors across devices" in result.stdout


def test_operations_without_our_launcher(fresh):
    for result in fresh.variables(with_pyaccel("test_ops"), size=2):
        result.check()
