"""`python -m pyaccel`: the same as the console script `pyaccel`."""

from pyaccel.commands._process import run
from pyaccel.commands.pyaccel_cli import main

if __name__ == "__main__":
    run(main)
