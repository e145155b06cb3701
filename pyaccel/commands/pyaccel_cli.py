"""`pyaccel SUBCOMMAND ...`: imports the one sub-command that is named, and runs it."""

import sys

# Sub-command -> its module, which has a `main()` that reads `sys.argv`, and its help.
_COMMANDS = {
    "launch": (
        "pyaccel.commands.launch",
        "run a script or a module on several processes of this machine",
    ),
}


def _help():
    lines = ["usage: pyaccel [-h] [--version] SUBCOMMAND ...", "", "sub-commands:"]
    lines += [f"  {name:<10} {text}" for name, (_, text) in _COMMANDS.items()]
    lines += ["", "`pyaccel SUBCOMMAND --help` says more about one of them."]
    return "\n".join(lines)


def main():
    """Run the sub-command that the command line names."""
    words = sys.argv[1:]
    if not words:
        print(_help(), file=sys.stderr)
        raise SystemExit(2)
    name = words[0]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        from pyaccel import __version__

        print(f"pyaccel {__version__}")
    elif name in _COMMANDS:
        sys.argv = [f"{sys.argv[0]} {name}", *words[1:]]
        # As import_module, which is not there without an import of its own.
        __import__(_COMMANDS[name][0], fromlist=["main"]).main()
    else:
        known = ", ".join(_COMMANDS)
        print(
            f"pyaccel: error: there is no sub-command {name!r}; there is: {known}",
            file=sys.stderr,
        )
        raise SystemExit(2)
