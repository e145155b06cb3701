"""The test's side: `Ranks` runs a function in several processes at once."""

import os
import pickle
import socket
import subprocess
import sys
import tempfile

from .outcome import HarnessError, Outcome, RankError, RanksTimeoutError, report_all
from .rank import Job
from .server import Request
from .wire import Channel

# What the server imports before its first fork, as far as it is installed. All of it
# is what tests import anyway, and none of it starts a thread.
PRELOAD = (
    "numpy",
    "torch",
    "torch.distributed",
    "pytest",
    "transformers.modeling_outputs",
    "pyaccel.state",
    "pyaccel.utils.operations",
    "pyaccel.accelerator",
)
_START_SECONDS = 120.0
# The server keeps the deadline of a run; this is for a server that does not answer.
_MARGIN_SECONDS = 30.0


class Ranks:
    """Runs functions in groups of forked processes, one process a rank.

    The server and its groups stay between runs, so that a run on a warm group takes
    milliseconds. A group that a test has broken is replaced at the next run. Folders of
    `path` stand before all others on the path of the processes.
    """

    def __init__(self, preload=PRELOAD, path=()):
        self._preload = tuple(preload)
        self._path = tuple(str(folder) for folder in path)
        self._process = None
        self._channel = None
        self._log = None

    def run(
        self,
        function,
        *args,
        size=2,
        timeout=60.0,
        check=True,
        via="launcher",
        own_group=False,
        env=None,
        group_env=None,
    ):
        """Call `function(*args)` in every rank; return one result a rank, in order.

        `function` is a module-level function (or a static method of a module-level
        class) of an importable module or test file; `args` and results are pickled.
        When a rank raises or ends, RankError names the one that did so first, with its
        traceback, and the rest of the group is ended. With `check=False` the ranks go
        on by themselves and a list of Outcome is returned instead.

        After `timeout` seconds the stacks of all ranks that are not done are in
        the RanksTimeoutError, and the group is killed.

        `via` says how the ranks find each other: "launcher" gives them what pyaccel's
        launcher gives, "variables" only RANK, WORLD_SIZE, MASTER_ADDR and the like.
        `own_group` uses a group that no other run shares. `env` is added to the
        environment of the ranks for this run; groups with another `group_env`, which
        they are started with, are other groups.
        """
        __tracebackhide__ = True
        job = _make_job(function, args, env, self._path)
        start = tuple(sorted((group_env or {}).items()))
        request = Request(job, size, via, start, timeout, check, own_group)
        results, first, late = self._ask(request)
        outcomes = [_make_outcome(rank, parts) for rank, parts in enumerate(results)]
        for outcome in outcomes:
            _echo(outcome)
        if late and (first is None or not check):
            raise RanksTimeoutError(
                f"{job.name} at size {size}: "
                f"rank {', '.join(map(str, late))} not done within {timeout} s\n"
                + report_all(outcomes)
            )
        if not check:
            return outcomes
        if first is not None:
            raise RankError(report_all(outcomes, first))
        return [outcome.value for outcome in outcomes]

    def close(self):
        """End the server and every rank; the next run starts new ones."""
        if self._process is None:
            return
        # The server sees the end of its channel, kills its ranks and exits.
        self._channel.close()
        try:
            self._process.wait(_MARGIN_SECONDS)
        except subprocess.TimeoutExpired:
            # Its ranks end with it: they have a parent-death signal.
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._process = self._channel = self._log = None

    def _ask(self, request):
        try:
            if self._process is None:
                self._start()
            self._channel.send(request)
            reply = self._channel.receive(request.timeout + _MARGIN_SECONDS)
        except (EOFError, ConnectionError, TimeoutError) as error:
            log = self._read_log()
            self.close()
            raise HarnessError(f"the test server failed ({error!r})\n{log}") from error
        except BaseException:
            # Interrupted, by Ctrl-C or a time limit of pytest: the reply that is still
            # to come belongs to nobody, so this server cannot be asked again.
            self.close()
            raise
        if reply[0] == "failed":
            raise HarnessError(f"the test server could not run the job\n{reply[1]}")
        return reply[1:]

    def _start(self):
        ours, theirs = socket.socketpair()
        with theirs:
            # It lives as long as the server.
            self._log = tempfile.TemporaryFile()  # noqa: SIM115
            command = (
                f"import sys; sys.path[:] = {[*self._path, *sys.path]!r}; "
                f"from {__package__}.server import main; "
                f"main({theirs.fileno()}, {self._preload!r})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                # Ctrl-C in the terminal is for pytest, which then closes the channel.
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self._channel = Channel(ours)
        self._channel.receive(_START_SECONDS)

    def _read_log(self):
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode("utf-8", errors="replace")


def _make_job(function, args, env, path):
    name = getattr(function, "__qualname__", "<unnamed>")
    module = sys.modules.get(getattr(function, "__module__", None))
    if "<" in name or module is None:
        raise TypeError(
            f"ranks.run needs a function of a module's top level, and {function!r} is "
            "not one: the ranks find it by its module and name"
        )
    return Job(
        module=module.__name__,
        file=getattr(module, "__file__", ""),
        name=name,
        arguments=pickle.dumps(args, protocol=5),
        path=tuple(os.path.abspath(entry) for entry in [*path, *sys.path]),
        environment=dict(env or {}),
        directory=os.getcwd(),
    )


def _make_outcome(rank, parts):
    if "value" in parts:
        parts = {**parts, "value": pickle.loads(parts["value"])}
    return Outcome(rank=rank, **parts)


def _echo(outcome):
    """Write a rank's output again, so that pytest shows it with a failing test."""
    for stream, text in ((sys.stdout, outcome.stdout), (sys.stderr, outcome.stderr)):
        for line in text.splitlines():
            print(f"[rank {outcome.rank}] {line}", file=stream)
