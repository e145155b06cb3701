"""`pyaccel launch`: runs a script on several processes of this machine.

Here is the way from the command line to the exit code; each step is a file in
`_launch/`. Neither torch nor NumPy is imported.
"""

import sys

from pyaccel.commands._launch import command_line
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._process import run

# The exit code for a launch that could not begin, as for any wrong command line.
_WRONG_USE = 2
# As shells say of a program that Ctrl-C ended.
_INTERRUPTED = 130


def launch_command_parser(subparsers=None):
    """An `argparse` parser of the command line, also as a sub-command `launch`."""
    from pyaccel.commands._launch import parser as module

    if subparsers is None:
        return module.create()
    parser = module.create_below(subparsers)
    parser.set_defaults(func=launch_command)
    return parser


def launch_command(args):
    """Run what `args` (a namespace of the parser) ask for, until it has ended.

    Returns if every process ended with 0; otherwise raises `SystemExit` with the exit
    code of the first that failed, 128 + n if signal n killed it. A `LaunchError` (a
    `ValueError`) or `FileNotFoundError` says why nothing was started.
    """
    # Imported here: `--help` and wrong command lines do without them.
    from pyaccel.commands._launch import run as running, settings, target

    chosen = settings.resolve(args)
    command = target.command(chosen)
    code = running.run(chosen, command)
    if code != 0:
        raise SystemExit(code)


def main():
    """The console script `pyaccel-launch`, and `pyaccel launch`."""
    try:
        args = command_line.parse(sys.argv[1:])
        if args.help:
            launch_command_parser().print_help()
            return
        launch_command(args)
    except (LaunchError, FileNotFoundError) as error:
        print(f"pyaccel launch: error: {error}", file=sys.stderr)
        raise SystemExit(_WRONG_USE) from None
    except KeyboardInterrupt:  # before there was anyone to pass it on to
        raise SystemExit(_INTERRUPTED) from None


if __name__ == "__main__":
    run(main)
