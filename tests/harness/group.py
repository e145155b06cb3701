"""A group of ranks as their server sees it: forked together, ended together."""

import contextlib
import fcntl
import os
import random
import resource
import select
import signal
import socket
import sys
from dataclasses import dataclass

from . import rank as rank_side
from .outcome import describe_exit
from .wire import channel_pair

_PR_SET_PDEATHSIG = 1
_DUMP_SECONDS = 2.0
_KILL_SECONDS = 10.0


@dataclass
class Member:
    """One rank: its process, the channel to it and the files that it writes."""

    rank: int
    pid: int
    pidfd: int
    channel: object
    stdout: int
    stderr: int
    # The exit code, or minus the signal, once the process has been reaped.
    exit: int | None = None

    def clear_output(self):
        for file in (self.stdout, self.stderr):
            os.ftruncate(file, 0)

    def output(self):
        """What the rank wrote since `clear_output`: stdout and stderr, as text."""
        return tuple(_read_all(file) for file in (self.stdout, self.stderr))

    def close_files(self):
        self.channel.close()
        for name in ("pidfd", "stdout", "stderr"):
            if (file := getattr(self, name)) >= 0:
                os.close(file)
                setattr(self, name, -1)


class Group:
    """Ranks 0 to size - 1, with the environment that pyaccel's launcher gives.

    `via` is "launcher" (an inherited segment in PYACCEL_CONTROL) or "variables" (the
    plain variables alone, as torchrun or a user's own script sets them). `extra` are
    more variables, as pairs.
    """

    def __init__(self, size, via, extra, close_inherited):
        """Fork the ranks. `close_inherited` closes the server's own files in each."""
        check_single_thread()
        self.size, self.via = size, via
        self.segment = _make_segment(size) if via == "launcher" and size > 1 else None
        self.members = []
        self._gates = [channel_pair() for _ in range(size)]
        environment = {**_environment(size), **dict(extra)}
        try:
            for rank in range(size):
                self._fork(rank, environment, close_inherited)
            pids = [member.pid for member in self.members]
            for member in self.members:
                member.channel.send(pids)
        except BaseException:
            self.end()
            raise
        finally:
            for _, theirs in self._gates:
                theirs.close()
            self._gates = []

    def _fork(self, rank, environment, close_inherited):
        ours, theirs = self._gates[rank]
        stdout = _output_file(f"rank-{rank}-stdout")
        stderr = _output_file(f"rank-{rank}-stderr")
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            # Whatever happens, the child must never return into the server's loop.
            try:
                set_parent_death_signal(signal.SIGKILL, server)
                close_inherited()
                self._become_rank(rank, environment, stdout, stderr)
                rank_side.place(rank, theirs.receive(), theirs)
                rank_side.serve(theirs)
            finally:
                sys.excepthook(*sys.exc_info())
                os._exit(70)
        pidfd = os.pidfd_open(pid)
        self.members.append(Member(rank, pid, pidfd, ours, stdout, stderr))

    def _become_rank(self, rank, environment, stdout, stderr):
        """In the child: keep this rank's files only, and take its environment."""
        for other, (ours, theirs) in enumerate(self._gates):
            ours.close()
            if other != rank:
                theirs.close()
        for member in self.members:
            member.close_files()
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, stdout), (2, stderr)):
            os.dup2(source, target)
            os.close(source)
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
        if self.segment is not None:
            os.environ["PYACCEL_CONTROL"] = f"{os.getpid()}:{self.segment.fd}"

    def reap(self, member):
        """Collect a process that has ended and tell the others, as a launcher would."""
        _, status = os.waitpid(member.pid, 0)
        member.exit = os.waitstatus_to_exitcode(status)
        self.mark_ended(member.rank, f"rank {member.rank} {describe_exit(member.exit)}")

    def mark_ended(self, rank, message):
        """Say in the segment that `rank` will not come any more, if there is one."""
        if self.segment is not None:
            self.segment.mark_ended(rank, message)

    def dump(self, members):
        """End ranks by SIGABRT, on which faulthandler writes all their stacks."""
        _signal(members, signal.SIGABRT)
        # A stopped process takes the signal only when it runs again.
        _signal(members, signal.SIGCONT)
        self._reap_all(members, _DUMP_SECONDS)

    def end(self):
        """Kill and reap what is left and close everything; may be called twice."""
        _signal(self.members, signal.SIGKILL)
        self._reap_all(self.members, _KILL_SECONDS)
        self.close_files()

    def close_files(self):
        """Close the server's files of this group without touching the processes."""
        for member in self.members:
            member.close_files()
        if self.segment is not None:
            self.segment.close()
            self.segment = None

    def _reap_all(self, members, seconds):
        for member in members:
            if (
                member.exit is None
                and select.select([member.pidfd], [], [], seconds)[0]
            ):
                self.reap(member)


def _signal(members, number):
    for member in members:
        if member.exit is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(member.pidfd, number)


def check_single_thread():
    """Refuse to fork a process with threads: a child would inherit their locks."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(
            f"the test server has {threads} threads and cannot fork safely; "
            "a module of its preload list must have started one"
        )


def set_parent_death_signal(number, parent):
    """Have the kernel send `number` to this process when `parent` ends."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # It ended before the call above, so no signal will ever come.
        os._exit(0)


def _make_segment(size):
    import pyaccel._C

    make = getattr(pyaccel._C, "Segment", None)
    return make(size) if make else None


def _environment(size):
    """What every rank has in common; a rank adds its own two numbers."""
    return {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "ACCELERATE_MIXED_PRECISION": "no",
        "ACCELERATE_DEBUG_MODE": "false",
    }


def free_port():
    """A port that nobody listens on, outside the range of outgoing connections.

    The kernel gives no port of that range away by itself, so none is lost between
    this look and its use, unless another program asks for the very same number.
    """
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _output_file(name):
    """An anonymous file that every write is appended to, whoever has truncated it."""
    file = os.memfd_create(name, os.MFD_CLOEXEC)
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
    return file


def _read_all(file):
    parts = []
    offset = 0
    while data := os.pread(file, 1 << 20, offset):
        parts.append(data)
        offset += len(data)
    return b"".join(parts).decode("utf-8", errors="backslashreplace")
