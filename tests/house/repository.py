"""What the house rules look at: the repository's files, and C text without noise."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "pyaccel"

# Where the files that somebody wrote are; build outputs and environments are not.
FOLDERS = ("csrc", "pyaccel", "tests", "benchmarks", ".ci")
TOP = ("setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "constraints.txt")


def name(path):
    """A path as the messages show it."""
    return path.relative_to(ROOT).as_posix()


def c_files(*patterns):
    """The files of csrc that match, such as `**/*.h`, sorted."""
    return sorted(path for pattern in patterns for path in CSRC.glob(pattern))


def core_files(*patterns):
    """As c_files, without csrc/py."""
    return [path for path in c_files(*patterns) if folder_of(path) != "py"]


def folder_of(path):
    """The layer that a file of csrc belongs to: the name of its folder."""
    return path.relative_to(CSRC).parts[0]


def python_files(*folders):
    """Every Python source below the folders, sorted."""
    found = (path for folder in folders for path in (ROOT / folder).glob("**/*.py"))
    return sorted(path for path in found if "__pycache__" not in path.parts)


def written_files():
    """Every text file that belongs to the repository."""
    found = [ROOT / top for top in TOP]
    for folder in FOLDERS:
        found += (path for path in (ROOT / folder).glob("**/*") if path.is_file())
    return sorted(path for path in found if path.exists() and is_written(path))


def is_written(path):
    """Whether a person wrote the file: no cache, no build output."""
    generated = {".so", ".o", ".pyc", ".gcda", ".gcno"}
    return path.suffix not in generated and "__pycache__" not in path.parts


# A comment, a string or a character constant; whichever begins first wins.
_NOISE = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
)


def c_code(path):
    """C text with comments blanked and strings emptied; lines keep their numbers."""

    def blank(match):
        text = match.group()
        return (
            '""'
            if text[0] == '"'
            else "0"
            if text[0] == "'"
            else "\n" * text.count("\n")
        )

    return _NOISE.sub(blank, path.read_text())


def line_of(text, position):
    """The number of the line that a position of a text is in."""
    return text.count("\n", 0, position) + 1


def agree(wrong):
    """Fails with every line of `wrong`, the places where a rule is broken."""
    lines = list(wrong)
    if lines:
        pytest.fail("\n".join(["this house rule is broken:", *lines]), pytrace=False)
