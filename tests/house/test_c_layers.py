"""Rules 1 and 2: includes point down, and each foreign library has one door."""

import re

from tests.house.repository import CSRC, ROOT, agree, c_files, folder_of, name

# A folder may include itself and folders of a lower level, nothing beside it.
LEVELS = {
    "base": 0,
    "sys": 1,
    "store": 2,
    "gpu": 2,
    "torch": 2,
    "part": 2,
    "math": 2,
    "comm": 3,
    "pipe": 4,
    "py": 5,
}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)

# A foreign header, and the beginning of the paths in csrc that may include it.
DOORS = {
    "Python.h": "py/",
    "structmember.h": "py/",
    "datetime.h": "py/",
    "numpy/": "py/numpy.c",
}

FILES = c_files("**/*.c", "**/*.h")


def includes(path):
    """The includes of a file: `<` or `"`, and the name."""
    return INCLUDE.findall(path.read_text())


def own_includes():
    """Every include of a header of ours: the file and the header's path from csrc."""
    for path in FILES:
        for mark, header in includes(path):
            if mark == '"':
                yield path, header


def test_every_folder_is_a_layer():
    agree(
        f"{name(path)}: {folder_of(path)!r} is no layer of csrc/README.md; the layers "
        f"are {', '.join(LEVELS)}"
        for path in FILES
        if folder_of(path) not in LEVELS
    )


def test_includes_are_written_from_csrc():
    agree(
        f'{name(path)} includes "{header}", which is no path from csrc/'
        for path, header in own_includes()
        if not (CSRC / header).is_file()
    )


def test_includes_point_down():
    def allowed(path, header):
        own, other = folder_of(path), header.split("/")[0]
        return own == other or LEVELS[other] < LEVELS[own]

    agree(
        f"{name(path)} includes {header}, which is not below {folder_of(path)}"
        for path, header in own_includes()
        if not allowed(path, header)
    )


def test_own_header_comes_first():
    wrong = []
    for path in c_files("**/*.c"):
        header = path.with_suffix(".h")
        if header.exists():
            wanted = header.relative_to(CSRC).as_posix()
            first = includes(path)[0][1]
            if first != wanted:
                wrong.append(f"{name(path)} includes {first} before its own {wanted}")
    agree(wrong)


def test_every_foreign_library_has_one_door():
    agree(
        f"{name(path)} includes {header}, which only csrc/{door} may"
        for path in FILES
        for _, header in includes(path)
        for foreign, door in DOORS.items()
        if header.startswith(foreign)
        and not path.relative_to(CSRC).as_posix().startswith(door)
    )


def test_every_layer_has_c_tests():
    layers = {folder_of(path) for path in c_files("*/*.c")} - {"py"}
    tested = {
        header.split("/")[0]
        for program in (ROOT / "tests" / "c").glob("test_*.c")
        for _, header in includes(program)
    }
    agree(
        f"no tests/c/test_*.c includes a header of csrc/{layer}"
        for layer in sorted(layers - tested)
    )
