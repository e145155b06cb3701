"""Signals as something to poll: each one that arrives is a byte in a pipe."""

import os
import signal

# Passed on to the workers.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# CHLD: a worker ended. CONT: the terminal may be ours again.
_WATCHED = (*PASSED_ON, signal.SIGCHLD, signal.SIGCONT)


def name(number):
    """`SIGKILL` for 9; a number without a name (real time) stays a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Signals:
    """While it is entered, the watched signals only make `fd` readable.

    Signals that were ignored when the launcher was started (by `nohup`, or by a shell
    that starts something in the background) stay ignored, also in the workers.
    """

    def __enter__(self):
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {}
        for number in _WATCHED:
            before = signal.getsignal(number)
            # Ignored CHLD would have the kernel throw the workers' ends away.
            if before is not signal.SIG_IGN or number == signal.SIGCHLD:
                self._before[number] = before
                signal.signal(number, _only_wake)
        # One that the starter had blocked would never arrive.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)
        # A read of the terminal from the background then fails instead of stopping us.
        self._ttin = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        return self

    def __exit__(self, *_):
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.signal(signal.SIGTTIN, self._ttin)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.fd)
        os.close(self._write)

    def read(self):
        """The numbers of the signals that have arrived since the last call."""
        try:
            return list(os.read(self.fd, 4096))
        except BlockingIOError:
            return []

    def fork(self):
        """`os.fork`, in whose child no signal is lost or taken for the launcher's."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._before)
        try:
            pid = os.fork()
            if pid == 0:
                self._leave_to_child()
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _leave_to_child(self):
        """Give a new child the signals as a program expects to find them."""
        signal.set_wakeup_fd(-1)
        # Python ignores PIPE and XFSZ for itself; what the child executes may not want
        # that.
        for number in (*self._before, signal.SIGTTIN, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)


def _only_wake(number, frame):
    """Python wants a handler; the byte in the pipe does the work."""
