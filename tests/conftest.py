"""Fixtures of all tests, and the signals that every test starts from."""

import signal

from tests.harness.plugin import fresh, ranks

__all__ = ["fresh", "ranks"]


def pytest_configure():
    """Who runs the tests in the background or under nohup has signals ignored, which
    every process inherits; tests of signals would then test that."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            interrupt = number == signal.SIGINT
            usual = signal.default_int_handler if interrupt else signal.SIG_DFL
            signal.signal(number, usual)
