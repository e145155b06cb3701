"""`here`: what a function that runs in a rank may ask and tell.

All of it goes through the server, beside the communicator under test, so that a test
of the communicator's failures does not rest on the communicator.
"""

import os
import signal as signals
import threading
import time


class Here:
    """The rank that the calling code runs in."""

    def __init__(self):
        self.rank = 0
        self.size = 1
        # Process ids of all ranks, by rank.
        self.pids = (os.getpid(),)
        self._channel = None
        self._lock = threading.Lock()

    def post(self, name):
        """Tell every rank that waits for `name`, now or later, that it has come."""
        with self._lock:
            self._channel.send(("post", name))

    def wait(self, name, timeout=30.0):
        """Wait until any rank has posted `name` in this run."""
        with self._lock:
            self._channel.send(("wait", name))
            stopped = self._channel.receive(timeout)
        if stopped:
            raise RuntimeError(f"{stopped}, so nobody may wait for {name!r} any more")

    def wait_ended(self, rank, timeout=30.0):
        """Wait until `rank`'s process is gone and its launcher has said so."""
        self.wait(("ended", rank), timeout)

    def meet(self, name, timeout=30.0):
        """A barrier of all ranks beside the communicator; one name a meeting."""
        self.post((name, self.rank))
        for rank in range(self.size):
            self.wait((name, rank), timeout)

    def kill(self, rank, signal=signals.SIGKILL):
        """Send a signal to the process of `rank`."""
        os.kill(self.pids[rank], signal)

    def die(self, signal=signals.SIGKILL):
        """End this rank by a signal, here and now."""
        os.kill(os.getpid(), signal)
        signals.pause()

    def wait_state(self, rank, states, timeout=30.0):
        """Wait until the main thread of `rank` is in one of the kernel's states.

        `states` are letters as in /proc/PID/stat: S sleeps, T is stopped.
        """
        deadline = time.monotonic() + timeout
        while (state := _state(self.pids[rank])) not in states:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"rank {rank} is in state {state} and not in {states} "
                    f"after {timeout} s"
                )
            os.sched_yield()

    def wait_asleep(self, rank, name, timeout=30.0):
        """Wait until `rank` has posted `name` and then gone to sleep in the kernel.

        A rank that posts and then enters a collective whose peers are not there sleeps
        nowhere else, so the caller knows that it waits inside the collective.
        """
        self.wait(name, timeout)
        self.wait_state(rank, "S", timeout)


def _state(pid):
    """The state of a process's main thread; its name may hold spaces and brackets."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]


here = Here()
