"""Builds the wheels and tries each on the interpreters that it is for.

    python -m tests.abi [FOLDER]

builds in FOLDER (default: a temporary one) a full-API wheel with CPython 3.10, where
that is found, and a stable-ABI wheel with this interpreter, installs them in fresh
environments of every CPython from 3.10 on that is found, and runs check.py there.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECK = Path(__file__).with_name("check.py")
BUILD_NEEDS = ["setuptools>=77", "wheel", "numpy>=2.0"]


def interpreters():
    """Version -> path of every CPython from 3.10 on: on PATH, and pyenv's."""
    candidates = [Path(sys.executable)]
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidates += sorted(Path(folder).glob("python3.[0-9]*"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += sorted(pyenv.glob("versions/3.*/bin/python3"))
    found = {}
    for path in candidates:
        if not re.fullmatch(r"python(3(\.\d+)?)?", path.name):
            continue
        ask = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
        answer = subprocess.run(
            [path, "-c", ask], check=False, capture_output=True, text=True
        )
        words = answer.stdout.split()
        # A shim of pyenv for a version that is not chosen answers nothing.
        if len(words) == 3 and words[0] == "cpython":
            version = (int(words[1]), int(words[2]))
            if version >= (3, 10):
                found.setdefault(version, path)
    return dict(sorted(found.items()))


def run(*command, **options):
    # What is tried is the installed wheel, never a tree that the caller's path names.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(part) for part in command], check=True, env=env, **options)


def environment(python, folder, packages):
    """A fresh environment with the packages; its interpreter."""
    run(python, "-m", "venv", "--clear", folder)
    made = folder / "bin" / "python"
    run(made, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
    return made


def build(python, folder):
    """A wheel of the working tree, built with the given interpreter."""
    tree = folder / "tree"
    ignore = shutil.ignore_patterns(".*", "build", "dist", "*.so", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=ignore)
    builder = environment(python, folder / "builder", ["-U", *BUILD_NEEDS])
    wheels = folder / "wheels"
    options = ["--no-deps", "--no-build-isolation", "-w", wheels, tree]
    run(builder, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", *options)
    return next(wheels.glob("*.whl"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where to build")
    chosen = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        scratch = chosen or Path(temporary)
        found = interpreters()
        wheels = {}
        for version, python in found.items():
            kind = "full" if version < (3, 11) else "abi3"
            name = "{}.{}".format(*version)
            folder = scratch / name
            folder.mkdir(parents=True)
            if kind not in wheels:
                wheels[kind] = build(python, folder)
                print("built", wheels[kind].name, flush=True)
            made = environment(python, folder / "trial", ["numpy"])
            run(made, "-m", "pip", "install", "-q", "--no-deps", wheels[kind])
            run(made, CHECK, cwd=scratch)
        names = ", ".join("{}.{}".format(*version) for version in found)
        print(f"tried on CPython {names}")


if __name__ == "__main__":
    main()
