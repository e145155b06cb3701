"""Rules 4, 5 and 8 for C sources: headers are manuals, the core is silent."""

import re

from tests.house.repository import (
    CSRC,
    agree,
    c_code,
    c_files,
    core_files,
    folder_of,
    line_of,
    name,
)
from tests.house.scanner import declarations

# What the core leaves to its caller: to speak, to stop, to look at the environment.
FORBIDDEN = (
    "getenv|secure_getenv|setenv|putenv|v?f?printf|v?dprintf|f?puts|putchar|f?putc|perror"
    "|fwrite|syslog|_?exit|_Exit|quick_exit|abort|assert|atexit|signal|sigaction"
)
CALL = re.compile(rf"(?<![\w.>])({FORBIDDEN})\s*\(")
# Calls in a process that the core itself has made, and which concern no other.
IN_A_NEW_PROCESS = {"csrc/sys/spawn.c": ("_exit", "sigaction")}

# Conditions that are no features: include guards, the compiler and the processor.
CONDITION = re.compile(
    r"^[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif)[ \t]+(.*)$", re.MULTILINE
)
NO_FEATURE = re.compile(
    r"PA_\w+_H$|!?(?:defined\s*\(?)?__(?:x86_64__|aarch64__|SANITIZE_|has_feature|SSE|AVX)"
)

GOTO = re.compile(r"\bgoto\s+(\w+)")

# A macro: its name, and "(" if it takes arguments. Some libraries ask for theirs.
MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(\(?)", re.MULTILINE)
FOREIGN_MACRO = re.compile(r"PY_SSIZE_T_CLEAN$|NPY_\w+$|NO_IMPORT_ARRAY$|PY_ARRAY_")

SOURCES = c_files("**/*.c", "**/*.h")


def places(pattern, files):
    """Where a pattern stands in the code of C files: the place and the match."""
    for path in files:
        code = c_code(path)
        for match in pattern.finditer(code):
            yield f"{name(path)}:{line_of(code, match.start())}", match


def test_core_is_silent():
    agree(
        f"{place} calls {match[1]}: the core returns a status and a message; printing, "
        "ending and the environment are its caller's"
        for place, match in places(CALL, SOURCES)
        if match[1] not in IN_A_NEW_PROCESS.get(place.partition(":")[0], ())
    )


def test_core_has_no_feature_switches():
    agree(
        f"{place}: #if {match[1]}: the core is built in one way only"
        for place, match in places(CONDITION, core_files("**/*.c", "**/*.h"))
        if not NO_FEATURE.match(match[1])
    )


def test_file_opens_with_a_sentence():
    agree(
        f"{name(path)}: the first line should say in a sentence what the file is"
        for path in SOURCES
        if not re.match(r"/\* \w.{8,}", path.read_text())
    )


def test_header_explains_every_prototype():
    agree(
        f"{name(path)}:{found.line}: {found.name} has no comment above it that says "
        "what it does, who owns what, whether it waits and what it can return"
        for path in c_files("**/*.h")
        for found in declarations(path.read_text())
        if not found.comment
    )


def test_include_guard_is_the_path():
    wrong = []
    for path in c_files("**/*.h"):
        place = "_".join(path.relative_to(CSRC).with_suffix("").parts)
        guard = f"{'PYACCEL' if folder_of(path) == 'py' else 'PA'}_{place}_H".upper()
        if f"\n#ifndef {guard}\n#define {guard}\n" not in c_code(path):
            wrong.append(f"{name(path)}: its include guard should be {guard}")
    agree(wrong)


def test_cleanup_has_one_label():
    agree(
        f"{place}: goto {match[1]}: what owns something leaves through `done`"
        for place, match in places(GOTO, SOURCES)
        if match[1] != "done"
    )


def test_macros_carry_their_prefix():
    def prefixes(place):
        return ("PYACCEL_", "PA_") if place.startswith("csrc/py/") else ("PA_",)

    agree(
        f"{place} defines {match[1]}: macros are called {prefixes(place)[0]}NAME"
        for place, match in places(MACRO, SOURCES)
        if not match[1].startswith(prefixes(place))
        and not FOREIGN_MACRO.match(match[1])
    )


def test_macros_with_arguments_say_why():
    """One that is undefined again in the same file is part of a list of names."""
    wrong = []
    for path in SOURCES:
        text = path.read_text()
        for match in MACRO.finditer(text):
            above = text[: match.start()].rstrip(" \t")
            explained = above.rstrip("\n").endswith("*/") and not above.endswith("\n\n")
            if match[2] and not explained and f"#undef {match[1]}\n" not in text:
                wrong.append(
                    f"{name(path)}:{line_of(text, match.start())}: {match[1]} has no "
                    "comment above it that says why it is a macro"
                )
    agree(wrong)
