"""The flags that setup.py compiles csrc with, for whoever else reads or compiles it.

From the command line (`python -m tests.c.flags`) it prints them, for clang-tidy.
"""

import shlex
import sysconfig

import setup


def extension_flags():
    """Language, warnings, definitions and include folders of the extension module."""
    extension = setup.extension()
    flags = list(extension.extra_compile_args)
    flags += [f"-D{name}={value}" for name, value in extension.define_macros]
    flags += [f"-I{setup.ROOT / folder}" for folder in extension.include_dirs]
    return [*flags, "-isystem", sysconfig.get_path("include")]


if __name__ == "__main__":
    print(shlex.join(extension_flags()))
