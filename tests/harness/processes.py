"""A started command with its output, and the search for what commands leave behind."""

import contextlib
import os
import select
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .outcome import HarnessError, describe_exit


@dataclass(frozen=True)
class Finished:
    """A command that has ended: its code, or minus its signal, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float

    def check(self):
        """Itself, if the command ended with 0; else RuntimeError with its output."""
        if self.returncode != 0:
            raise RuntimeError(
                f"the command {describe_exit(self.returncode)}\n"
                f"--- stdout ---\n{self.stdout}\n--- stderr ---\n{self.stderr}"
            )
        return self


class Running:
    """A command that runs; one thread of the test reads both its streams."""

    def __init__(self, command, environment, directory):
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._command = command
        self._text = {"stdout": bytearray(), "stderr": bytearray()}
        self._selector = selectors.DefaultSelector()
        for name in self._text:
            self._selector.register(
                getattr(self._process, name), selectors.EVENT_READ, name
            )
        self.pid = self._process.pid

    def wait_for(self, text, timeout=60.0):
        """Wait until `text` has appeared in stdout or stderr; returns all so far."""
        self._read_until(lambda: self._holds(text), timeout, f"{text!r} did not come")
        if not self._holds(text):
            raise HarnessError(f"{text!r} never came\n{self._output()}")
        return self._output()

    def signal(self, number, group=False):
        """Send a signal to the command, or to its whole process group as Ctrl-C is."""
        (os.killpg if group else os.kill)(self.pid, number)

    def finish(self, timeout=60.0):
        """Wait until the command has ended and both streams are at their end."""
        deadline = time.monotonic() + timeout
        self._read_until(lambda: False, timeout, "the command did not end")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.1, deadline - time.monotonic()))
        if self._process.returncode is None:
            self._give_up("the command did not end", timeout)
        seconds = time.monotonic() - self._began
        return Finished(
            self._process.returncode,
            self._read("stdout"),
            self._read("stderr"),
            seconds,
        )

    def close(self):
        """Kill the command if it still runs, and close its streams."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        self._process.stdout.close()
        self._process.stderr.close()

    def _read_until(self, enough, timeout, complaint):
        deadline = time.monotonic() + timeout
        while self._selector.get_map() and not enough():
            events = self._selector.select(max(0.0, deadline - time.monotonic()))
            if not events:
                self._give_up(complaint, timeout)
            for event, _ in events:
                if data := os.read(event.fd, 1 << 16):
                    self._text[event.data] += data
                else:
                    self._selector.unregister(event.fileobj)

    def _give_up(self, complaint, timeout):
        self._process.kill()
        raise HarnessError(
            f"{complaint} within {timeout} s: {self._command}\n{self._output()}"
        )

    def _holds(self, text):
        return any(text.encode() in data for data in self._text.values())

    def _read(self, name):
        return self._text[name].decode("utf-8", errors="backslashreplace")

    def _output(self):
        return "\n".join(f"--- {name} ---\n{self._read(name)}" for name in self._text)


def still_marked(mark, timeout):
    """Ids of processes with `mark`, NAME=VALUE, in the environment they began with.

    Those that end within `timeout` seconds are not among them. This finds orphans too,
    which no walk down from a parent would.
    """
    deadline = time.monotonic() + timeout
    while marked := _marked(mark):
        left = deadline - time.monotonic()
        if left < 0 or not _wait_ended(marked[0], left):
            break
    return marked


def kill_marked(mark, timeout=10.0):
    """Kill every process with `mark`; they are gone on return."""
    while marked := _marked(mark):
        for pid in marked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if not _wait_ended(pid, timeout):
                raise HarnessError(f"process {pid} did not end within {timeout} s")


def _marked(mark):
    return [pid for pid in _own_processes() if _has_mark(pid, mark.encode())]


def _own_processes():
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def _has_mark(pid, mark):
    try:
        # The environment of a process that has ended but was not yet reaped is empty.
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _wait_ended(pid, timeout):
    """Whether the process is gone, at once or within `timeout` seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)
