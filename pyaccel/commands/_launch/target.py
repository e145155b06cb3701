"""What the workers run: found before anything starts, and made into a command."""

import os
import stat
import sys

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
    if stat.S_ISREG(mode) and _starts_with(path, b"\x7fELF"):
        raise LaunchError(
            f"the script {path!r} is a program and no Python; --no_python runs it"
        )


def _starts_with(path, start):
    with open(path, "rb") as file:
        return file.read(len(start)) == start


def _module_hint(path):
    looks_like_module = "/" not in path and not path.endswith(".py")
    return "; -m runs a module" if looks_like_module else ""


def _program(name):
    """The path of a program; without a slash it is looked for in the PATH.

    As shutil.which, whose module takes half as long to import as a worker to start.
    """
    folders = [""] if "/" in name else os.get_exec_path()
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    if "/" in name and os.path.isfile(name):
        raise LaunchError(
            f"the program {name!r} of --no_python cannot be executed; change its "
            "permissions, or leave --no_python out for a Python script"
        )
    raise LaunchError(f"the program {name!r} of --no_python cannot be found")


def _check_module(name):
    """Find the module without importing its packages: they may import torch."""
    first, *parts = name.split(".")
    if not all(part.isidentifier() for part in (first, *parts)):
        raise LaunchError(
            f"{name!r} is not the name of a module; leave -m out for a file"
        )
    spec = _find_first(first)
    if spec is None:
        raise _no_module(name, first)
    folders = spec.submodule_search_locations
    for place, part in enumerate(parts):
        above = ".".join([first, *parts[:place]])
        if folders is None:
            raise LaunchError(f"{name!r} cannot be run: {above!r} is no package")
        if not _can_be_searched(folders):
            return
        found, folders = _find_inside(folders, part)
        if not found:
            raise _no_module(name, f"{above}.{part}")
    if folders is not None and _can_be_searched(folders):
        found, _ = _find_inside(folders, "__main__")
        if not found:
            raise LaunchError(
                f"{name!r} is a package without a __main__; name a module in it"
            )


def _no_module(name, missing):
    return LaunchError(
        f"{name!r} cannot be run: there is no module {missing!r}; install it, or start "
        "in the folder that it is in"
    )


def _find_first(name):
    """The spec of a module that is in no package, or None."""
    # Imported here, as in `_is_module`: only modules need it, and it takes time.
    from importlib.machinery import PathFinder

    # `python -m` looks in the current folder first, wherever the launcher itself is.
    spec = PathFinder.find_spec(name, [os.getcwd(), *sys.path])
    for finder in sys.meta_path:
        if spec is None and finder is not PathFinder:
            spec = finder.find_spec(name, None)
    return spec


def _can_be_searched(folders):
    """False if only importing the package can tell where its modules are.

    So it is in an archive, and if its `__init__.py` has to do with its `__path__`.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            return False
        try:
            with open(os.path.join(folder, "__init__.py"), "rb") as file:
                if b"__path__" in file.read():
                    return False
        except FileNotFoundError:
            continue
    return True


def _find_inside(folders, part):
    """Whether `part` is in a package's folders, and its own folders if a package."""
    places = [os.path.join(folder, part) for folder in folders]
    for place in places:
        if _is_module(os.path.join(place, "__init__")):
            return True, [place]
        if _is_module(place):
            return True, None
    # Folders without an __init__.py are together one package.
    places = [place for place in places if os.path.isdir(place)]
    return bool(places), places or None


def _is_module(stem):
    from importlib.machinery import all_suffixes

    return any(os.path.isfile(stem + suffix) for suffix in all_suffixes())
