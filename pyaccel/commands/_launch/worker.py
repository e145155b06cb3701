"""One worker: started in a process group of its own that dies with the launcher."""

import fcntl
import os
import signal
from collections import namedtuple
from contextlib import suppress

from pyaccel import _C
from pyaccel.commands._launch import environment, groups, signals

# What shells answer if a program could not be executed.
_CANNOT_EXECUTE = 126


# What a worker is started with: `environment` is what all have alike, `stdio` the
# descriptors that it gets as 0, 1 and 2, `segment_fd` the shared memory, if any.
Job = namedtuple("Job", "rank command environment stdio segment_fd")


class Worker:
    """A started worker. Its pid is also the number of its process group.

    It is reaped only by `reap`, so that until then neither number can come to mean
    other processes.
    """

    def __init__(self, rank, pid, lifeline):
        self.rank = rank
        self.pid = pid
        self.ended = False
        # Once it has ended: its exit code, or minus the signal that killed it.
        self.code = 0
        self._lifeline = lifeline

    def __str__(self):
        return f"rank {self.rank} (pid {self.pid})"

    def check(self):
        """True if it has ended since the last call."""
        if self.ended:
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        end = os.waitid(os.P_PID, self.pid, flags)
        if end is None:
            return False
        self.ended = True
        exited = end.si_code == os.CLD_EXITED
        self.code = end.si_status if exited else -end.si_status
        return True

    def describe_end(self):
        """`rank 1 (pid 123) was killed by SIGKILL`."""
        if self.code < 0:
            return f"{self} was killed by {signals.name(-self.code)}"
        return f"{self} ended with exit code {self.code}"

    def send(self, number):
        """Signal the worker and the processes that it started in its group."""
        groups.send(self.pid, number)

    def reap(self):
        """Let go of an ended worker."""
        os.waitpid(self.pid, 0)
        os.close(self._lifeline)


def start(job, catcher):
    """Start `job` as a worker, through the signals that `catcher` watches.

    `OSError` if no process can be made; a command that cannot be executed is the
    worker's own failure, said on its stderr.
    """
    launcher = os.getpid()
    lifeline, held = os.pipe()
    try:
        pid = catcher.fork()
        if pid == 0:
            _become(job, lifeline, launcher)
    except OSError:
        os.close(held)
        raise
    finally:
        os.close(lifeline)
    # Also done by the worker: whoever comes first, the group exists from here on. It
    # is refused when the worker has done so and gone on to execute its command.
    with suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)
    return Worker(job.rank, pid, held)


def _become(job, lifeline, launcher):
    """In the new process: turn it into the worker. Never returns."""
    try:
        os.setpgid(0, 0)
        _tie_to(launcher, lifeline)
        for target, fd in enumerate(job.stdio):
            if fd != target:
                os.dup2(fd, target)
        if job.segment_fd is not None:
            os.set_inheritable(job.segment_fd, True)
        variables = environment.of_rank(
            job.environment, job.rank, os.getpid(), job.segment_fd
        )
        os.execve(job.command[0], job.command, variables)
    except BaseException as error:
        program = job.command[0]
        text = f"pyaccel launch: rank {job.rank} cannot execute {program!r}: {error}\n"
        os.write(2, text.encode(errors="replace"))
    finally:
        os._exit(_CANNOT_EXECUTE)


def _tie_to(launcher, lifeline):
    """Have the kernel kill this group when the launcher is gone, however it went.

    `lifeline` is a pipe whose other end only the launcher holds. Its closing is an
    event on this end, and events on it are sent, as SIGKILL, to the process group:
    so it reaches the worker's children too, which the parent-death signal does not.
    """
    _C.parent_death_signal(signal.SIGKILL)
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
        os.set_inheritable(lifeline, True)
    except OSError:
        # Some sandboxes refuse it. The worker itself still dies with the launcher.
        pass
    if os.getppid() != launcher:  # gone before the kernel was asked
        os._exit(128 + signal.SIGKILL)
