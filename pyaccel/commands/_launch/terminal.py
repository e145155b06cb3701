"""Gives rank 0 a terminal if the launcher has one, and hands on what is typed.

    launcher's   -- keys --> Terminal ------> new       --> rank 0's stdin
    terminal     <-- Sink <-- Source <------- terminal  <-- its stdout and stderr

A worker is in a process group of its own, and only one group may read a terminal: the
launcher's, so that Ctrl-C comes here. Behind the new terminal rank 0 leads a session,
and progress bars, colours, line editing and debuggers find what they look for.
"""

import os

# How often who is in the background looks whether it still is.
LOOK = 0.5


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


def create(like):
    """The launcher's side and the worker's side of a new terminal, set as `like` is.

    Its output is left as it is: the terminal that shows it turns line ends into more.
    """
    # Only a launch at a terminal pays for the import.
    import termios

    from pyaccel.commands._launch.modes import without_output_processing

    ours, its = os.openpty()
    modes = without_output_processing(termios.tcgetattr(like))
    termios.tcsetattr(its, termios.TCSANOW, modes)
    return ours, its


class Screen:
    """Keeps the new terminal, whose side `ours` is, as large as the one at `like`."""

    def __init__(self, like, ours):
        self._like = like
        self._ours = os.dup(ours)
        self.resize()

    def resize(self):
        """Pass on the size of the terminal, which may have changed."""
        import fcntl
        import termios

        try:
            size = fcntl.ioctl(self._like, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)
        except OSError:  # one of them is hung up
            return

    def close(self):
        """Let go of the descriptor."""
        os.close(self._ours)


class Terminal:
    """The terminal at `fd`, read for rank 0 while the launcher is in the foreground.

    Owns `fd`, `to`, where what was typed goes, and `modes`, which are changed while it
    reads. `modes` and `echo`, the source of what the new terminal shows, are None if
    rank 0 has a pipe as input.
    """

    def __init__(self, fd, to, *, modes=None, echo=None):
        os.set_blocking(to, False)
        self._fd = fd
        self._to = to
        self._modes = modes
        self._echo = echo
        self._pending = b""
        self._ours = False
        self.refresh()

    def refresh(self):
        """Find out whether the terminal is ours to read; after each SIGCONT."""
        if self._to is None:
            return
        try:
            self._ours = os.tcgetpgrp(0) == os.getpgrp()
            if self._ours and self._modes is not None:
                self._modes.change()
        except OSError:  # hung up
            self._ours = False

    def leave(self):
        """Leave the terminal as it was found, if it is still ours."""
        if self._modes is not None and self._to is not None:
            try:
                if os.tcgetpgrp(0) == os.getpgrp():
                    self._modes.restore()
            except OSError:  # hung up
                self._ours = False

    def looks_again(self):
        """True while it may come to the foreground, which is not announced."""
        return self._to is not None and not self._ours

    def interests(self):
        """The descriptors to wait for now: (those to read, those to write)."""
        if self._to is None:
            return (), ()
        if self._pending:
            return (), (self._to,)
        return ((self._fd,) if self._ours else ()), ()

    def read(self):
        """Take what was typed; a closed terminal is the end of the input."""
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
        elif self._echo is not None:
            # Within a line each key is to be seen at once, and is no line of output.
            self._echo.be_prompt(not self._pending.endswith((b"\r", b"\n")))

    def write(self):
        """Hand on what was typed, as far as rank 0 has room for it."""
        try:
            self._pending = self._pending[os.write(self._to, self._pending) :]
        except BlockingIOError:
            return
        except OSError:  # rank 0 has closed its stdin, or ended
            self.close()

    def close(self):
        """Let rank 0 see the end of its input; may be called twice."""
        if self._to is None:
            return
        self.leave()
        if self._modes is not None:
            self._modes.close()
        os.close(self._to)
        os.close(self._fd)
        self._to = None
