"""One script of many cases under both libraries: same values, same kinds of errors."""

import json

from tests.parity.differences import differences

# What scripts begin with. Each writes one JSON object a process: for each case the repr
# of what came out of it, or an exception's type. Texts of errors may differ: ours name
# the value and the remedy.
COMMON = """
import importlib, io, json, logging, os, random, sys
import numpy as np
import torch

library = sys.argv[1]
results = {}


def module(name):
    return importlib.import_module(library + "." + name)


def case(name, function, *args, **kwargs):
    try:
        results[name] = repr(function(*args, **kwargs)).replace(library, "LIBRARY")
    except Exception as error:
        results[name] = type(error).__name__


def finish():
    rank = os.environ.get("RANK", "0")
    with open(f"{sys.argv[2]}/{library}-{rank}.json", "w") as file:
        json.dump(results, file)


u, memory, other = module("utils"), module("utils.memory"), module("utils.other")
"""


def compare(run, script, directory, case, *, size=1, part="utils"):
    """Runs a script under both libraries and compares what every process wrote."""
    for library in ("accelerate", "pyaccel"):
        folder = directory / library
        folder.mkdir()
        start = f"import os\nos.chdir({str(folder)!r})\n"
        run(start + COMMON + script, library, directory).check()
    different = differences(part, case)
    seen = set()
    for rank in range(size):
        theirs = json.loads((directory / f"accelerate-{rank}.json").read_text())
        ours = json.loads((directory / f"pyaccel-{rank}.json").read_text())
        # Some processes have no such case, but one must.
        for what in different.keys() & theirs.keys() & ours.keys():
            assert theirs.pop(what) == different[what]["accelerate"], what
            assert ours.pop(what) == different[what]["pyaccel"], what
            seen.add(what)
        assert ours == theirs
    assert seen == different.keys()
