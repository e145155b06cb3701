"""What importing the package costs and offers."""

import ast
import subprocess
import sys
from importlib.util import resolve_name
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


def listed(path):
    """Public name -> relative module, for the imports that only type checkers read."""
    tree = ast.parse(path.read_text())
    blocks = [tree] if path.suffix == ".pyi" else ast.walk(tree)
    return {
        alias.name: "." * node.level + node.module
        for block in blocks
        if isinstance(block, (ast.If, ast.Module))
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }


@pytest.mark.parametrize("module", [pyaccel, pyaccel.utils])
def test_type_checkers_see_the_same_names(module):
    """Names are listed a second time, in a stub or in imports that never run."""
    path = Path(module.__file__)
    stub = path.with_suffix(".pyi")
    found = listed(stub if stub.exists() else path)
    resolved = {
        name: resolve_name(full, module.__name__) for name, full in found.items()
    }
    assert resolved == module._NAMES
    assert list(module._NAMES) == sorted(module._NAMES)


def test_a_submodule_never_hides_a_function():
    """`tqdm` is a submodule and a function, and the package's name is the function."""
    program = "import pyaccel.utils.tqdm; print(callable(pyaccel.utils.tqdm))"
    assert printed(program) == ["True"]
