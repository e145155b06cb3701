"""The command line as an `argparse` parser: for `--help`, and for accelerate's API."""

import argparse
import sys

from pyaccel.commands._launch.command_line import parse
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.options import OPTIONS

USAGE = "pyaccel launch [OPTIONS] SCRIPT [ARGUMENTS OF THE SCRIPT]"
DESCRIPTION = (
    "Run a script on several processes of this machine. Options may be spelled with "
    "hyphens (--num-processes=2) or underscores (--num_processes=2), and come before "
    "the script; what comes after it is the script's."
)

_TYPES = {"int": int, "float": float, "text": str}


class LaunchParser(argparse.ArgumentParser):
    """Shows the options as argparse does; reads them with `command_line.parse`."""

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's; nothing is left over, since what is unknown is an error."""
        try:
            parsed = parse(sys.argv[1:] if args is None else args)
        except LaunchError as error:
            self.error(str(error))
        if parsed.help:
            self.print_help()
            self.exit()
        namespace = argparse.Namespace() if namespace is None else namespace
        vars(namespace).update(self._defaults | vars(parsed))
        return namespace, []


def create():
    """The parser of `pyaccel launch`."""
    parser = LaunchParser(
        "pyaccel launch",
        usage=USAGE,
        description=DESCRIPTION,
        add_help=False,
        allow_abbrev=False,
    )
    _add_options(parser)
    return parser


def create_below(subparsers):
    """The parser of a sub-command `launch`, of the kind that `subparsers` makes."""
    parser = subparsers.add_parser(
        "launch", description=DESCRIPTION, add_help=False, allow_abbrev=False
    )
    _add_options(parser)
    return parser


def _add_options(parser):
    """Declare every option to `parser`, each under both of its spellings."""
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")
    for option in OPTIONS.values():
        names = [f"-{option.short}"] if option.short else []
        names.append(f"--{option.name}")
        if "_" in option.name:
            names.append("--" + option.name.replace("_", "-"))
        if option.kind == "flag":
            parser.add_argument(*names, action="store_true", help=option.help)
        else:
            parser.add_argument(
                *names,
                default=option.default,
                choices=option.choices,
                type=_TYPES[option.kind],
                help=option.help,
            )
    parser.add_argument("training_script", help="the script, or with -m the module")
    parser.add_argument(
        "training_script_args", nargs=argparse.REMAINDER, help="the script's arguments"
    )
