"""What the command lines of the examples have in common."""

import argparse
import importlib.util
from pathlib import Path


def positive_int(text):
    """The value of an option that counts something, so at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number of 1 or more; give one such as 8"
        )
    return value


def output_file(text):
    """The path of a file to be written; refused early, before the work is done."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} is a folder; name the file that is to be written in it"
        )
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"the folder of {text!r} does not exist; create {str(path.parent)!r} first"
        )
    return path


def output_folder(text):
    """The path of a folder to be written to, which is made when it is first used."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} is a file; name a folder, which is created when it is missing"
        )
    return path


def require(parser, *modules):
    """End with one sentence when a module that the extra `demo` brings is missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(
            f"this example needs {', '.join(missing)}, not installed here; "
            "install what the examples need with: pip install pyaccel[demo]"
        )
