"""What the workers run: found before anything starts, and made into a command."""

import os
import stat
import sys
from importlib.machinery import PathFinder

from pyaccel.commands._launch.errors import LaunchError


def command(settings):
    """The words to execute; `LaunchError` if what they name cannot be run."""
    name = settings.training_script
    if settings.no_python:
        return [_program(name), *settings.training_script_args]
    if settings.module:
        _check_module(name)
        return [sys.executable, "-m", name, *settings.training_script_args]
    _check_script(name)
    return [sys.executable, name, *settings.training_script_args]


def _check_script(path):
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise LaunchError(
            f"the script {path!r} cannot be found ({error.strerror}); the folder is "
            f"{os.getcwd()!r}{_module_hint(path)}"
        ) from None
    if stat.S_ISDIR(mode) and not os.path.isfile(os.path.join(path, "__main__.py")):
        raise LaunchError(
            f"the script {path!r} is a folder without a __main__.py; name a file in it"
        )
    if not os.access(path, os.R_OK):
        raise LaunchError(f"the script {path!r} cannot be read; change its permissions")


def _module_hint(path):
    looks_like_module = "/" not in path and not path.endswith(".py")
    return "; -m runs a module" if looks_like_module else ""


def _program(name):
    from shutil import which

    found = which(name)
    if found is None:
        raise LaunchError(f"the program {name!r} of --no_python cannot be found")
    return found


def _check_module(name):
    """Find the module without importing its packages: they may import torch."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise LaunchError(
            f"{name!r} is not the name of a module; leave -m out for a file"
        )
    path = None
    for place in range(len(parts)):
        whole = ".".join(parts[: place + 1])
        spec = _find(whole, path)
        if spec is None:
            raise LaunchError(
                f"there is no module {whole!r}; install it, or start in the folder "
                "that it is in"
            )
        path = spec.submodule_search_locations
        if path is None and whole != name:
            raise LaunchError(f"there is no module {name!r}: {whole!r} is no package")
        if path is not None and _changes_its_path(spec):
            return
    if path is not None and _find(f"{name}.__main__", path) is None:
        raise LaunchError(
            f"{name!r} is a package without a __main__; name a module in it"
        )


def _find(name, path):
    """The spec of `name` inside the packages' folders `path`, or at the top if None."""
    if path is not None:
        return PathFinder.find_spec(name, path)
    # `python -m` looks in the current folder first, wherever the launcher itself is.
    spec = PathFinder.find_spec(name, [os.getcwd(), *sys.path])
    for finder in sys.meta_path:
        if spec is None and finder is not PathFinder:
            spec = finder.find_spec(name, None)
    return spec


def _changes_its_path(spec):
    """True if the package may have modules elsewhere, which only running it tells."""
    try:
        with open(spec.origin, "rb") as file:
            return b"__path__" in file.read()
    except (OSError, TypeError):  # TypeError: a namespace package has no origin
        return False
