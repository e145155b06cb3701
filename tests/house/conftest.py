"""Objects of every C source, for the rules that look at what the compiler made."""

import pytest

from tests.c import flags, runner
from tests.house.repository import c_files


@pytest.fixture(scope="session")
def objects():
    """Source -> object file, for every source of csrc; a warning is an error."""
    if runner.compiler() is None:
        pytest.skip("there is no C compiler: install gcc or clang, or name one in CC")
    command = [*flags.extension_flags(), "-fPIC", "-Werror"]
    sources = c_files("**/*.c")
    folder = runner.build_folder("house")
    return dict(
        zip(
            sources,
            runner.compile_all(sources, folder, command),
            strict=True,
        )
    )
