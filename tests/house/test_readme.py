"""What the READMEs promise exists: commands, extras, programs, files they link to."""

import importlib.util
import re
import shlex

from tests.house.repository import ROOT, agree, name, written_files

README = ROOT / "README.md"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def commands():
    """The blocks of README.md that are marked as sh: what a newcomer copies."""
    return re.findall(
        r"^```sh\n(.*?)\n```$", README.read_text(), re.DOTALL | re.MULTILINE
    )


def words():
    """The words of each simple command in those blocks."""
    for block in commands():
        for command in block.replace("\\\n", " ").split("&&"):
            yield shlex.split(command)


def test_two_commands_are_all_that_a_newcomer_types():
    assert len(commands()) == 2
    agree(
        f"README.md: a command that is not one line: {block}"
        for block in commands()
        if "\n" in block
    )


def test_installs_are_constrained():
    agree(
        f"README.md: pip is not held to constraints.txt: {shlex.join(command)}"
        for command in words()
        if command[:2] == ["pip", "install"] and "constraints.txt" not in command
    )


def test_extras_exist():
    wanted = {
        extra.strip()
        for command in words()
        for word in command
        for extras in re.findall(r"^\.\[(.*)\]$", word)
        for extra in extras.split(",")
    }
    assert wanted, "README's commands install no extra"
    agree(
        f"README.md installs the extra {extra!r}, which pyproject.toml does not have"
        for extra in sorted(wanted)
        if not re.search(rf"^{extra} = \[", PYPROJECT, re.MULTILINE)
    )


def test_modules_exist():
    modules = {
        command[index + 1]
        for command in words()
        for index, word in enumerate(command[:-1])
        if word == "-m"
    }
    agree(
        f"README.md runs the module {module}, which does not exist"
        for module in sorted(modules)
        if importlib.util.find_spec(module) is None
    )


def test_programs_are_installed():
    """Every program is the system's, pip, or one of ours that pyproject.toml names."""
    known = {"python3", "python", ".", "pip", "cd"}
    ours = set(re.findall(r'/bin/([\w-]+)"', PYPROJECT))
    agree(
        f"README.md runs {command[0]}, which nothing installs"
        for command in words()
        if command[0] not in known | ours
    )


def test_links_lead_somewhere():
    agree(
        f"{name(path)} links to {target}, which does not exist"
        for path in written_files()
        if path.suffix == ".md" and "documents" not in path.parts
        for target in LINK.findall(path.read_text())
        if "://" not in target and not target.startswith("#")
        if not (path.parent / target.split("#")[0]).exists()
    )
