"""The docstrings of Python's standard library, read from its source files.

The modules are parsed, never imported, so nothing of theirs runs. The order is that of
the sorted paths and then of the source, so every process sees the same list.
"""

import ast
import sysconfig
from pathlib import Path
from typing import NamedTuple

# Third-party packages and the library's own tests live below the same folder.
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test"}

_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Docstring(NamedTuple):
    """One docstring and the dotted name of what it describes."""

    name: str
    text: str

    @property
    def first_line(self):
        return self.text.splitlines()[0]


def docstrings(root=None):
    """Yield the docstring of every public module, class and function below `root`.

    The folder is the standard library's own when `root` is None.
    """
    root = Path(root or sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED.isdisjoint(parts) and all(map(_is_public, parts)):
            yield from _in_module(path, parts)


def _in_module(path, parts):
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        # A template or a file for another version of Python; it has no docstrings.
        return
    package = parts[-1] == "__init__"
    yield from _below(tree, ".".join(parts[:-1] if package else parts), described=True)


def _below(node, name, *, described):
    if described and (text := ast.get_docstring(node)):
        yield Docstring(name, text)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _DEFINITIONS):
            # Definitions also stand inside `if` and `try`, which have no docstring.
            yield from _below(child, name, described=False)
        elif _is_public(child.name):
            yield from _below(child, f"{name}.{child.name}", described=True)


def _is_public(name):
    # Folders such as `config-3.11-x86_64-linux-gnu` are not packages.
    special = name.startswith("__") and name.endswith("__")
    return name.isidentifier() and (special or not name.startswith("_"))
