"""Reads the tables of README.md: what the blocks are, and how they are run."""

import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
BLOCKS = HERE / "blocks"


class Substitution(NamedTuple):
    """Plain text for plain text in every block of one kind, `py` or `sh`."""

    kind: str
    printed: str
    run: str


class Program(NamedTuple):
    """A script made of Python blocks, and the block with the command that starts it."""

    name: str
    script: tuple
    command: str


def substitutions():
    """The table of substitutions, in its order."""
    return [
        Substitution(*(_code(cell)[0] for cell in row[:3]))
        for row in _table("Substitutions")
    ]


def programs():
    """The table of programs."""
    return [
        Program(_code(name)[0], tuple(_code(script)), _code(command)[0])
        for name, script, command, _ in _table("Programs")
    ]


def blocks():
    """The table of blocks, as a dict from name to how it is run."""
    return {_code(name)[0]: run for name, _, run in _table("Blocks")}


def printed(block):
    """The text of a block as the document has it."""
    return (BLOCKS / f"{block}.txt").read_text(encoding="utf-8")


def as_run(block):
    """The text of a block after the substitutions for its kind."""
    text = printed(block)
    for row in applying(block):
        text = text.replace(row.printed, row.run)
    return text


def applying(block):
    """The substitutions that change a block."""
    text = printed(block)
    found = []
    for row in substitutions():
        if block.endswith(f".{row.kind}") and row.printed in text:
            found.append(row)
            text = text.replace(row.printed, row.run)
    return found


def _table(heading):
    """The rows of the only table below a heading, without its two head lines."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]
    ]


def _code(cell):
    """What stands between backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)
