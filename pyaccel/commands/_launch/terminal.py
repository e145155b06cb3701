"""Hands what is typed on to rank 0.

A worker is in a process group of its own, and only one group may read the terminal:
the launcher's, so that Ctrl-C comes here. So the launcher reads, and rank 0 has a pipe.
"""

import os


class Terminal:
    """The terminal at descriptor 0, read while the launcher is in the foreground."""

    def __init__(self, pipe):
        os.set_blocking(pipe, False)
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
        return ((0,) if self._ours else ()), ()

    def read(self):
        """Take what was typed; a closed terminal closes the pipe."""
        self.refresh()
        if not self._ours:
            return
        try:
            self._pending = os.read(0, 4096)
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
            self._pipe = None
