"""Passes on what workers write: as it comes, its bytes as they are, whole lines.

    worker 0 -- pipe --> Source --+
    worker 1 -- pipe --> Source --+--> Sink --> the launcher's own stdout (or stderr)

A Source cuts at line ends, so that lines of different workers do not mix. A carriage
return ends a line too (progress bars), and an unfinished line (a prompt) waits only
`PATIENCE`. A Sink never blocks: while its reader is slow, its sources are not read, and
so the workers wait, as they would without the launcher.
"""

import os
from select import PIPE_BUF

# Seconds for which an unfinished line is kept back.
PATIENCE = 0.05
# All that a pipe holds; a terminal gives it in so many pieces.
_READ = 65536
_READS = 16
# A longer line is passed on in pieces, and a sink with more than this is full.
_LIMIT = 65536
_TRACEBACK = b"Traceback (most recent call last)"


class Sink:
    """One of the launcher's own output descriptors."""

    def __init__(self, fd):
        self.fd = fd
        self.broken = False
        self._pending = bytearray()
        self._last = b"\n"

    @property
    def waiting(self):
        """True if there are bytes to write as soon as the descriptor takes them."""
        return bool(self._pending)

    @property
    def full(self):
        """True if sources should not be read for now."""
        return len(self._pending) > _LIMIT

    def put(self, data):
        """Write `data` after what waits already."""
        if not self.broken:
            self._pending += data

    def say(self, text):
        """Write a line of the launcher's own, on a line of its own."""
        last = self._pending[-1:] or self._last
        start = "" if last == b"\n" else "\n"
        self.put(f"{start}pyaccel launch: {text}\n".encode(errors="backslashreplace"))

    def write(self):
        """Write what the descriptor, found writable, takes without blocking."""
        # A pipe found writable has room for this much.
        piece = self._pending[:PIPE_BUF]
        try:
            count = os.write(self.fd, piece)
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self.broken = True
            self._pending.clear()
            return
        self._last = bytes(piece[count - 1 : count])
        del self._pending[:count]


class Source:
    """The end of a worker's pipe, or terminal, at which its output arrives.

    Each line that is passed on begins with `prefix`; what comes is copied to `log`.
    """

    def __init__(self, fd, sink, *, prefix=b"", log=None):
        os.set_blocking(fd, False)
        self.fd = fd
        self.sink = sink
        self._patience = PATIENCE
        # When the unfinished line at the end of what has come is passed on, or None.
        self.due = None
        # When Python's heading of a traceback first came.
        self.traceback_at = float("inf")
        self._prefix = prefix
        self._log = log
        self._in_line = False
        self._rest = bytearray()

    @property
    def open(self):
        """False after the end of the worker's output."""
        return self.fd is not None

    def read(self, now):
        """Take what has come by `now`; False if there was nothing to take."""
        if not self.open:
            return False
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return False
        except OSError:  # the terminal is closed on the worker's side
            data = b""
        if not data:
            self.close()
            return False
        if self._log is not None:
            self._log.write(data)
        if _TRACEBACK in data:
            self.traceback_at = min(self.traceback_at, now)
        self._rest += data
        cut = self._end_of_lines()
        if cut:
            self._pass_on(self._rest[:cut])
            del self._rest[:cut]
            self.due = None
        if self._rest and self.due is None:
            self.due = now + self._patience
        return True

    def be_prompt(self, prompt):
        """Whether to pass on unfinished lines at once, as they answer what is typed."""
        self._patience = 0.0 if prompt else PATIENCE

    def drain(self, now):
        """Take all that an ended worker has left behind.

        Children of the worker may add to it for ever, so no more than a pipe holds,
        which one read of a terminal does not bring.
        """
        for _ in range(_READS):
            if not self.read(now):
                break

    def _end_of_lines(self):
        if len(self._rest) > _LIMIT:
            return len(self._rest)
        # A carriage return that came last may be half of a line end of two bytes.
        last = len(self._rest) - 1
        return max(self._rest.rfind(b"\n"), self._rest.rfind(b"\r", 0, last)) + 1

    def flush(self):
        """Pass on the unfinished line."""
        self._pass_on(self._rest)
        self._rest = bytearray()
        self.due = None

    def _pass_on(self, data):
        if self._prefix and data:
            lines = data.splitlines(keepends=True)
            start = b"" if self._in_line else self._prefix
            self._in_line = not lines[-1].endswith((b"\n", b"\r"))
            data = start + self._prefix.join(lines)
        self.sink.put(data)

    def close(self):
        """Pass on what is left and let go of the pipe; may be called twice."""
        if self.open:
            self.flush()
            os.close(self.fd)
            self.fd = None
            if self._log is not None:
                self._log.close()
