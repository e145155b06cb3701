"""The modes of the launcher's terminal while rank 0's own does echo and editing.

Both would otherwise echo what is typed, and a line would only come when it is complete.
What makes signals (Ctrl-C) stays with the launcher's terminal.
"""

import os
import termios

from pyaccel.commands._launch import signals

# The places in what tcgetattr returns.
_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6


def without_output_processing(modes):
    """`modes` for a terminal whose output goes to another one, which does that."""
    changed = list(modes)
    changed[_OFLAG] &= ~termios.OPOST
    return changed


def _passing_on(modes):
    """`modes` in which what is typed comes at once, as it is, and is not shown."""
    changed = list(modes)
    changed[_IFLAG] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR)
    changed[_LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.ECHONL)
    changed[_LFLAG] &= ~termios.IEXTEN
    changed[_CC] = list(modes[_CC])
    # Numbers, as tcgetattr has them in this mode.
    changed[_CC][termios.VMIN] = 1
    changed[_CC][termios.VTIME] = 0
    return changed


class Modes:
    """Changes the modes of the terminal at `fd`, and back.

    A small process of its own changes them back if the launcher is killed. It has to be
    made before the descriptors that must not outlive the launcher.
    """

    def __init__(self, fd):
        self._fd = fd
        self._before = termios.tcgetattr(fd)
        self._changed = False
        reading, self._alive = os.pipe()
        self._guard = os.fork()
        if self._guard == 0:
            os.close(self._alive)
            _stand_guard(fd, self._before, reading)
        os.close(reading)

    def change(self):
        """Have what is typed passed on; only for who is in the foreground."""
        if not self._changed:
            # Since the last time the shell may have other wishes.
            self._before = termios.tcgetattr(self._fd)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, _passing_on(self._before))
            self._changed = True

    def restore(self):
        """Change back; only for who is in the foreground. May be called twice."""
        if self._changed:
            self._changed = False
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def close(self):
        """Let the guard go."""
        os.close(self._alive)
        os.waitpid(self._guard, 0)


def _stand_guard(fd, before, reading):
    """In the guard: wait until the launcher is gone. Never returns."""
    try:
        # Not where Ctrl-C and Ctrl-Z are sent; so it is in the background, from where
        # only who ignores TTOU may change modes.
        os.setpgid(0, 0)
        signals.ignore(signals.TERM, signals.HUP, signals.TTOU)
        os.read(reading, 1)
        # Other modes than the launcher's are somebody else's by now.
        if termios.tcgetattr(fd) == _passing_on(before):
            termios.tcsetattr(fd, termios.TCSANOW, before)
    finally:
        os._exit(0)
