"""Rule 1 for Python: imports point down, and start-up stays light."""

import ast
import subprocess
import sys
import textwrap

from tests.house.repository import PACKAGE, agree, name

# The layers of the package, from the ground up. A module belongs to the longest entry
# that its name begins with; imports go to lower layers, or stay within one entry.
LAYERS = [
    ["pyaccel._C"],
    ["pyaccel._gpu_libraries"],
    ["pyaccel._images"],
    ["pyaccel._objects"],
    ["pyaccel.utils"],
    ["pyaccel._control"],
    ["pyaccel._world", "pyaccel._devices"],
    ["pyaccel._store"],
    ["pyaccel._rendezvous", "pyaccel._torch_positions"],
    ["pyaccel._torch_channels"],
    ["pyaccel._torch_transport"],
    ["pyaccel._group"],
    ["pyaccel._process"],
    ["pyaccel.state"],
    ["pyaccel.utils._nested"],
    ["pyaccel.utils._verification"],
    ["pyaccel.utils.operations", "pyaccel.utils.tqdm", "pyaccel.logging"],
    ["pyaccel.utils._modules", "pyaccel.utils._saving"],
    ["pyaccel.utils._regions"],
    ["pyaccel.utils.random", "pyaccel.utils.other"],
    ["pyaccel.data_loader", "pyaccel.hooks", "pyaccel.memory_utils"],
    ["pyaccel._pipe"],
    ["pyaccel.big_modeling", "pyaccel.inference"],
    ["pyaccel.accelerator"],
    ["pyaccel.launchers"],
    ["pyaccel.commands", "pyaccel.test_utils"],
    ["pyaccel.__main__", "pyaccel.examples"],
]

# The lazy tables of names and the alias know every layer.
KNOWS_ALL = {"pyaccel", "pyaccel.utils", "pyaccel._alias"}

ENTRIES = {entry: level for level, layer in enumerate(LAYERS) for entry in layer}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.glob("**/*.py"))
}


def entry_of(module):
    """The longest entry of LAYERS that a module's name begins with, or None."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        entry = ".".join(parts[:length])
        if entry in ENTRIES:
            return entry
    return None


def imports(module, path):
    """The modules of the package that a module imports anywhere in its text."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                is_module = full in MODULES or full == "pyaccel._C"
                yield node.lineno, full if is_module else base


def test_every_module_has_a_layer():
    agree(
        f"{name(path)}: {module} stands in no layer of this file's table"
        for module, path in MODULES.items()
        if module not in KNOWS_ALL and entry_of(module) is None
    )


def test_imports_point_down():
    wrong = []
    for module, path in MODULES.items():
        if module in KNOWS_ALL:
            continue
        own = entry_of(module)
        for line, other in imports(module, path):
            if other.split(".")[0] != "pyaccel" or other in KNOWS_ALL:
                continue
            target = entry_of(other)
            if target != own and ENTRIES.get(target, 0) >= ENTRIES.get(own, 0):
                wrong.append(
                    f"{name(path)}:{line}: {own} imports {other}, not below it"
                )
    agree(wrong)


def loaded_after(statement):
    """The names of all modules in a fresh interpreter after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", textwrap.dedent(program)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=PACKAGE.parent,
    )
    return set(result.stdout.split())


def test_start_up_is_light():
    """Neither the package nor the launcher loads what takes long to load."""
    heavy = {
        "torch",
        "numpy",
        "accelerate",
        "transformers",
        "multiprocessing",
        "asyncio",
    }
    agree(
        f"{statement} loads {', '.join(sorted(heavy & loaded_after(statement)))}"
        for statement in (
            "import pyaccel",
            "import pyaccel.commands.launch",
            "import pyaccel.commands.pyaccel_cli",
        )
        if heavy & loaded_after(statement)
    )
