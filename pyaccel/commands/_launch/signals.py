"""Signals as something to poll: each one that arrives is a byte in a pipe."""

# What `signal` is made of. That module wraps it in enumerations, and they take half as
# long to import as a worker takes to start.
import _signal as signal  # type: ignore[import-not-found]
import os

HUP = signal.SIGHUP
INT = signal.SIGINT
TERM = signal.SIGTERM
KILL = signal.SIGKILL
PIPE = signal.SIGPIPE
STOP = signal.SIGSTOP
TSTP = signal.SIGTSTP
CONT = signal.SIGCONT
CHLD = signal.SIGCHLD
TTIN = signal.SIGTTIN
TTOU = signal.SIGTTOU
WINCH = signal.SIGWINCH
# Passed on to the workers.
PASSED_ON = (INT, TERM, HUP)
# CHLD: a worker ended. TSTP, CONT: Ctrl-Z, and the end of it. WINCH: a new size.
_WATCHED = (*PASSED_ON, CHLD, TSTP, CONT, WINCH)


def name(number):
    """`SIGKILL` for 9; a number without a name (real time) stays a number."""
    from signal import Signals as Names

    try:
        return Names(number).name
    except ValueError:
        return f"signal {number}"


def ignore(*numbers):
    """Ignore signals, for as long as this process lives."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


class Signals:
    """From `open` to `close` the watched signals only make `fd` readable.

    Signals that were ignored when the launcher was started (by `nohup`, or by a shell
    that starts something in the background) stay ignored, also in the workers.
    """

    def __init__(self):
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {}
        for number in _WATCHED:
            before = signal.getsignal(number)
            # Ignored CHLD would have the kernel throw the workers' ends away.
            if before != signal.SIG_IGN or number == CHLD:
                self._before[number] = before
                signal.signal(number, _only_wake)
        # One that the starter had blocked would never arrive.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)
        # A read of the terminal from the background then fails instead of stopping us.
        self._ttin = signal.signal(TTIN, signal.SIG_IGN)

    def close(self):
        """Have the signals do again what they did before."""
        signal.signal(TTIN, self._ttin)
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.fd)
        os.close(self._write)

    def read(self):
        """The numbers of the signals that have arrived, in order."""
        try:
            return list(os.read(self.fd, 4096))
        except BlockingIOError:
            return []

    def stop(self):
        """Stop this process as Ctrl-Z does; returns when it goes on."""
        signal.signal(TSTP, signal.SIG_DFL)
        # The kernel leaves it undone if there is no shell that could say "go on".
        os.kill(os.getpid(), TSTP)
        signal.signal(TSTP, _only_wake)


def _only_wake(number, frame):
    """Python wants a handler; the byte in the pipe does the work."""
