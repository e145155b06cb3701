"""Rules 3 and 10 for every file: sizes, no unfinished work, nothing odd at the top."""

import re
import subprocess

import pytest

from tests.house.repository import ROOT, agree, name, written_files

LIMIT = 600
CODE = {".c", ".h", ".py", ".pyi", ".sh"}

# The marks of unfinished work, put together so that this file does not hold them.
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")

TOP = {
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "benchmarks",
    "constraints.txt",
    "csrc",
    "pyaccel",
    "pyproject.toml",
    "setup.py",
    "tests",
}


def texts():
    """Every text file of the repository and its text."""
    for path in written_files():
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


def test_files_are_short():
    agree(
        f"{name(path)} has {text.count(chr(10))} lines: split it before {LIMIT}"
        for path, text in texts()
        if path.suffix in CODE and text.count("\n") > LIMIT
    )


def test_nothing_is_left_unfinished():
    agree(
        f"{name(path)}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED.search(line)
    )


def test_lines_end_well():
    agree(
        f"{name(path)}: {fault}"
        for path, text in texts()
        for fault, found in (
            ("a line ends with blanks", re.search(r"[ \t]+$", text, re.MULTILINE)),
            ("the last line is not ended", text and not text.endswith("\n")),
            ("it has carriage returns", "\r" in text),
        )
        if found
    )


def test_top_folder_is_small():
    command = ["git", "ls-files", "--cached"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=ROOT
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the list of files needs git and a repository: {error}")
    tops = {line.split("/")[0] for line in result.stdout.splitlines()}
    agree(
        f"{top} stands in the top folder: deeper belongs into a folder"
        for top in sorted(tops)
        if not top.startswith(".") and top not in TOP
    )
