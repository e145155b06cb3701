"""Plays scenes: functions that run in processes of their own, with the fakes.

    def gathers(here):                   # in a module that imports no pytest
        cuda, nccl = here.cuda, here.nccl
        ...
        return value

    values = play(gathers, size=2, seed=3)      # settings of fakes.environment

The ranks of a scene meet in `here.exchange`. Their process has nothing else in it, and
ends when the function returns, without the interpreter's tidying up.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from functools import cached_property
from importlib import import_module
from typing import NamedTuple

from tests.c import runner
from tests.fakes.client import Cuda, Nccl
from tests.fakes.use import environment

_DEADLINE = 60.0


class Ended(NamedTuple):
    """How a rank ended."""

    status: int  # of its process; negative: a signal
    value: object
    stderr: str


class Here:
    """A rank of a scene."""

    def __init__(self, rank, size):
        self.rank = rank
        self.size = size

    @cached_property
    def cuda(self):
        """The fake CUDA, on the device of this rank."""
        cuda = Cuda()
        count = ctypes.c_int()
        if cuda.code("GetDeviceCount", ctypes.byref(count)) == 0:
            cuda.call("SetDevice", self.rank % count.value)
        return cuda

    @cached_property
    def nccl(self):
        """The fake NCCL."""
        return Nccl()

    def exchange(self, value=None):
        """What every rank gives, in order; None of those that have ended."""
        _tell({"exchange": value})
        return json.loads(sys.stdin.readline())

    def comm(self, **options):
        """A communicator of all ranks, polled until it is ready."""
        own = self.nccl.identity().hex() if self.rank == 0 else None
        identity = bytes.fromhex(self.exchange(own)[0])
        comm = self.nccl.comm(self.size, identity, self.rank, **options)
        assert self.nccl.poll(comm) == 0
        return comm


def _tell(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def play(scene, *arguments, size=1, check=True, variables=None, **settings):
    """Plays a scene by `size` ranks; what each returned.

    Without `check` an Ended a rank, however it ended. AssertionError if a rank ended
    badly, or if the scene took too long.
    """
    settings = {"violations": "record", **settings}
    base = {**os.environ, **environment(**settings), **(variables or {})}
    command = [sys.executable, "-m", __name__, scene.__module__, scene.__name__]
    command += [json.dumps(arguments), str(size)]
    ranks = []
    for rank in range(size):
        own = {**base, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        ranks.append(
            subprocess.Popen(command, env=own, cwd=runner.ROOT, text=True, **pipes)
        )
    late = threading.Timer(_DEADLINE, _end, [ranks])
    late.start()
    try:
        values = _direct(ranks)
        ended = [
            Ended(rank.wait(), value, rank.stderr.read())
            for rank, value in zip(ranks, values, strict=True)
        ]
    finally:
        late.cancel()
        _end(ranks)
        for rank in ranks:
            rank.wait()
            for pipe in (rank.stdin, rank.stdout, rank.stderr):
                pipe.close()
    if not check:
        return ended
    for number, each in enumerate(ended):
        assert each.status == 0, (
            f"rank {number} ended with {each.status}:\n{each.stderr}"
        )
    return [each.value for each in ended]


def play_each(scene, names, **settings):
    """Plays a scene of one rank for each name, each in a process; name -> value."""
    values = play(_fork_each, scene.__module__, scene.__name__, list(names), **settings)
    return dict(zip(names, values[0], strict=True))


def _fork_each(here, module, scene, names):
    """The scene's value for each name: forks, none of which finds CUDA in use."""
    function = getattr(import_module(module), scene)
    values = []
    for name in names:
        source, target = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(target, json.dumps(function(here, name)).encode())
            os._exit(0)
        os.close(target)
        with open(source) as pipe:
            values.append(json.loads(pipe.read() or "null"))
        os.waitpid(child, 0)
    return values


def _end(ranks):
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(signal.SIGKILL)


def _direct(ranks):
    """Hands on what the ranks exchange until all have ended; their values."""
    values = [None] * len(ranks)
    playing = dict(enumerate(ranks))
    while playing:
        given = [None] * len(ranks)
        for number, rank in list(playing.items()):
            line = rank.stdout.readline()
            message = json.loads(line) if line else {"value": None}
            if "exchange" in message:
                given[number] = message["exchange"]
            else:
                values[number] = message["value"]
                del playing[number]
        for rank in playing.values():
            rank.stdin.write(json.dumps(given) + "\n")
            rank.stdin.flush()
    return values


def _main():
    module, name, arguments, size = sys.argv[1:]
    here = Here(int(os.environ["RANK"]), int(size))
    value = getattr(import_module(module), name)(here, *json.loads(arguments))
    _tell({"value": value})


if __name__ == "__main__":
    _main()
