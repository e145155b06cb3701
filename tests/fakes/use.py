"""How a process comes to use the fakes, and what it did with them."""

from pathlib import Path
from typing import NamedTuple

from tests.fakes.libraries import build

_PATHS = {
    "cudart": "PYACCEL_CUDART_SO",
    "cuda": "PYACCEL_CUDA_SO",
    "nccl": "PYACCEL_NCCL_SO",
    "nvml": "PYACCEL_NVML_SO",
}


class Call(NamedTuple):
    """A line of the record: a call, work that ran (`run.copy`), or a `violation`."""

    process: int
    time: int  # nanoseconds of the monotonic clock, when it was over
    thread: int
    name: str
    arguments: dict
    text: str  # the arguments as they were written
    result: int


def environment(*, sanitizer=None, without=(), libraries=None, **settings):
    """Variables for a process that uses the fakes.

    A setting is a variable of README.md in lower case: `devices=2` is FAKES_DEVICES=2.
    A boolean becomes "on" or "off". `libraries` are those that are offered: by default
    all of them.
    """
    paths = build(sanitizer, without)
    chosen = _PATHS if libraries is None else {name: _PATHS[name] for name in libraries}
    variables = {variable: str(paths[name]) for name, variable in chosen.items()}
    for name, value in settings.items():
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        variables[f"FAKES_{name.upper()}"] = text
    return variables


def recorded(folder, *names):
    """What processes recorded in a folder (`record=folder`), in the order of time; only
    calls of these names where some are given."""
    calls = []
    for path in Path(folder).glob("*.calls"):
        for line in path.read_text().splitlines():
            time, thread, name, text, result = line.split("\t")
            arguments = dict(word.split("=", 1) for word in text.split() if "=" in word)
            call = Call(
                int(path.stem), int(time), int(thread), name, arguments, text, 0
            )
            calls.append(call._replace(result=int(result)))
    wanted = [call for call in calls if not names or call.name in names]
    return sorted(wanted, key=lambda call: call.time)
