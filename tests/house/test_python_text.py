"""Rules 3, 4 and 10 for Python: docstrings, tests that wait for what they mean."""

import ast
import re

from tests.house.repository import PACKAGE, ROOT, agree, name, python_files

# A test that must sleep says here why: the file's path, and the reason.
MAY_SLEEP = {}

# Programs to run and to read, which nobody imports: their module docstrings speak.
EXAMPLES = PACKAGE / "examples"

SLEEPS = {"sleep", "usleep", "nanosleep"}


def trees(*folders):
    """The Python sources of some folders: path and syntax tree."""
    for path in python_files(*folders):
        yield path, ast.parse(path.read_text())


def definitions(tree, prefix=""):
    """Public functions, methods and classes: their full name and their node."""
    for node in tree.body:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node, f"{prefix}{node.name}.")


def is_trivial(node):
    """A property's setter or an overload: the getter or the function explains it."""
    return any(
        ast.unparse(mark).endswith((".setter", "overload", "override"))
        for mark in getattr(node, "decorator_list", [])
    )


def called(node):
    """The last part of a called function's name: `sleep` for `time.sleep(1)`."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def test_modules_open_with_a_sentence():
    agree(
        f"{name(path)} has no docstring that says what it is"
        for path, tree in trees("pyaccel", "tests", "benchmarks")
        if tree.body and not ast.get_docstring(tree)
    )


def test_public_functions_have_docstrings():
    agree(
        f"{name(path)}:{node.lineno}: {full} has no docstring"
        for path, tree in trees("pyaccel")
        if EXAMPLES not in path.parents
        for full, node in definitions(tree)
        if not is_trivial(node) and not ast.get_docstring(node)
    )


def test_package_never_imports_accelerate():
    """pyaccel replaces accelerate: it never needs it."""
    pattern = re.compile(r"^\s*(?:from|import)\s+accelerate\b", re.MULTILINE)
    agree(
        f"{name(path)} imports accelerate"
        for path in python_files("pyaccel")
        if pattern.search(path.read_text())
    )


def test_tests_do_not_sleep():
    """A test that sleeps is slow when it is lucky and wrong when it is not."""
    agree(
        f"{name(path)}:{node.lineno} sleeps: wait for the thing itself, with a deadline"
        for path, tree in trees("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and called(node) in SLEEPS
        if name(path) not in MAY_SLEEP
    )


def test_c_tests_do_not_sleep():
    pattern = re.compile(r"\b(?:u|nano|clock_nano)?sleep\s*\(")
    agree(
        f"{name(path)} sleeps: wait for the thing itself, with a deadline"
        for path in sorted((ROOT / "tests" / "c").glob("*.[ch]"))
        if pattern.search(path.read_text()) and name(path) not in MAY_SLEEP
    )


def test_skips_have_reasons():
    def has_reason(node):
        words = {"reason", "allow_module_level"}
        positional = 1 if called(node) == "skipif" else 0
        given = any(word.arg in words for word in node.keywords)
        return given or (called(node) != "skipif" and len(node.args) > positional)

    agree(
        f"{name(path)}:{node.lineno} skips without a reason"
        for path, tree in trees("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and called(node) in {"skip", "skipif", "xfail"}
        if not has_reason(node)
    )
    bare = re.compile(r"@pytest\.mark\.(?:skip|xfail)\s*$", re.MULTILINE)
    agree(
        f"{name(path)} has a mark that skips without a reason"
        for path in python_files("tests")
        if bare.search(path.read_text())
    )
