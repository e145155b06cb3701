"""One worker: started in a process group of its own that dies with the launcher."""

import os

from pyaccel import _C
from pyaccel.commands._launch import environment, groups, signals


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


def start(rank, command, variables, stdio, *, segment_fd, terminal):
    """Start `command` as a worker; `OSError` if there is no process, or it cannot run.

    `variables` are what all workers have alike, `stdio` the worker's descriptors 0, 1
    and 2, `segment_fd` the shared memory or None; `terminal` says that one of `stdio`
    is to be the terminal of the worker's own session.
    """
    own = environment.of_rank(variables, rank)
    lifeline, held = os.pipe()
    try:
        pid = _C.spawn(
            [os.fsencode(word) for word in command],
            [os.fsencode(f"{name}={value}") for name, value in own.items()],
            stdio,
            pid_entry=environment.control(own, segment_fd),
            keep=-1 if segment_fd is None else segment_fd,
            lifeline=lifeline,
            terminal=terminal,
        )
    except OSError:
        os.close(held)
        raise
    finally:
        os.close(lifeline)
    return Worker(rank, pid, held)
