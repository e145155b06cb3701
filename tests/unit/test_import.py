"""What importing the package costs and offers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyaccel
import pyaccel.utils


def printed(program):
    """What a program prints in an interpreter of its own."""
    command = [sys.executable, "-c", program]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60
    )
    return result.stdout.split()


def test_import_is_light():
    before = set(printed("import sys; print(*sys.modules)"))
    after = set(printed("import pyaccel, pyaccel.utils, sys; print(*sys.modules)"))
    added = {name.partition(".")[0] for name in after - before}
    assert not added & {"torch", "numpy", "typing", "re", "enum", "dataclasses"}


@pytest.mark.parametrize("module", [pyaccel, pyaccel.utils])
def test_every_name_resolves(module):
    public = set(module.__all__)
    assert public <= set(dir(module))
    for name in public:
        assert getattr(module, name) is not None
    assert set(module._NAMES) == public - {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


@pytest.mark.parametrize("module", [pyaccel, pyaccel.utils])
def test_type_checkers_see_the_same_names(module):
    """Names are listed a second time in imports that only type checkers read."""
    tree = ast.parse(Path(module.__file__).read_text())
    listed = {
        alias.name: "." + node.module
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    table = {name: full[len(module.__name__) :] for name, full in module._NAMES.items()}
    assert listed == table
