"""Hands what is typed on to rank 0.

A worker is in a process group of its own, and only one group may read the terminal:
the launcher's, so that Ctrl-C comes here. So the launcher reads, and rank 0 has a pipe.
"""

import os


def open_controlling():
    """A descriptor of the terminal at 0, None if there is none with a foreground.

    It is one of our own, as it must not block: between a poll and a read, Ctrl-C takes
    away what was typed. The one at 0 is shared with the shell.
    """
    try:
        os.tcgetpgrp(0)
        return os.open("/dev/tty", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None


class Terminal:
    """The terminal at `fd`, read for rank 0 while the launcher is in the foreground.

    Owns `fd` and `pipe`, the end of the pipe that is rank 0's input.
    """

    def __init__(self, fd, pipe):
        os.set_blocking(pipe, False)
        self._fd = fd
        self._pipe = pipe
        self._pending = b""
        self.refresh()

    def refresh(self):
        """Find out whether the terminal is ours to read; after each SIGCONT."""
        try:
            self._ours = os.tcgetpgrp(0) == os.getpgrp()
        except OSError:  # hung up
            self._ours = False

    def interests(self):
        """The descriptors to wait for now: (those to read, those to write)."""
        if self._pipe is None:
            return (), ()
        if self._pending:
            return (), (self._pipe,)
        return ((self._fd,) if self._ours else ()), ()

    def read(self):
        """Take what was typed; a closed terminal closes the pipe."""
        self.refresh()
        if not self._ours:
            return
        try:
            self._pending = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            self._ours = False
            return
        if not self._pending:
            self.close()

    def write(self):
        """Hand on what was typed, as far as rank 0 has room for it."""
        try:
            self._pending = self._pending[os.write(self._pipe, self._pending) :]
        except BlockingIOError:
            return
        except OSError:  # rank 0 has closed its stdin, or ended
            self.close()

    def close(self):
        """Let rank 0 see the end of its input; may be called twice."""
        if self._pipe is not None:
            os.close(self._pipe)
            os.close(self._fd)
            self._pipe = None
