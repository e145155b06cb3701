"""The build script's switches."""

import pytest

import setup


@pytest.fixture
def build(monkeypatch):
    """The extension as setup.py describes it under given switches."""

    def describe(**switches):
        for switch in ("DEBUG", "SANITIZE", "COVERAGE", "WERROR"):
            monkeypatch.delenv(f"PYACCEL_{switch}", raising=False)
        for switch, value in switches.items():
            monkeypatch.setenv(f"PYACCEL_{switch}", value)
        return setup.extension()

    return describe


def test_plain_build_is_c11_hidden_and_optimised(build):
    flags = build().extra_compile_args
    assert {"-std=c11", "-fvisibility=hidden", "-O2", "-Wall", "-Wextra"} <= set(flags)
    assert not any(flag.startswith("-fsanitize") for flag in flags)


def test_sources_are_sorted_and_headers_are_known(build):
    extension = build()
    assert extension.sources == sorted(extension.sources)
    assert "csrc/py/module.c" in extension.sources
    assert "csrc/base/status.h" in extension.depends


def test_debug(build):
    flags = build(DEBUG="1").extra_compile_args
    assert "-O0" in flags
    assert "-O2" not in flags


def test_sanitize_reaches_compiler_and_linker(build):
    extension = build(SANITIZE="address,undefined")
    assert "-fsanitize=address,undefined" in extension.extra_compile_args
    assert "-fsanitize=address,undefined" in extension.extra_link_args


def test_coverage_reaches_compiler_and_linker(build):
    extension = build(COVERAGE="1")
    assert "--coverage" in extension.extra_compile_args
    assert "--coverage" in extension.extra_link_args


def test_warnings_as_errors(build):
    assert "-Werror" in build(WERROR="1").extra_compile_args


def test_the_stable_abi_of_3_11(build):
    extension = build()
    if not setup.LIMITED:
        pytest.skip("before Python 3.11 the extension takes the full API")
    assert extension.py_limited_api
    assert ("Py_LIMITED_API", "0x030B0000") in extension.define_macros
