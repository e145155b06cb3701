"""A launch at a terminal: what is typed reaches rank 0, and Ctrl-C everyone."""

import contextlib
import os
import pty
import select
import signal
import sys
import time

import pytest

from tests.house.repository import ROOT


class Session:
    """A launch in a session of its own, whose terminal the test types at."""

    def __init__(self, script, size):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
            command = [sys.executable, "-m", "pyaccel", "launch"]
            command += [f"--num_processes={size}", str(script)]
            os.execv(command[0], command)
        self.text = ""

    def wait_for(self, text):
        """Read until the terminal has shown `text`; fails after 30 seconds."""
        deadline = time.monotonic() + 30
        while text not in self.text:
            left = max(0, deadline - time.monotonic())
            assert select.select([self.fd], [], [], left)[0], self.text
            self.text += os.read(self.fd, 65536).decode()

    def type(self, text):
        os.write(self.fd, text.encode())

    def finish(self):
        """What the launcher ended with: its exit code, or minus a signal."""
        with contextlib.suppress(OSError):  # the terminal is closed when all have ended
            while True:
                self.wait_for("\0")
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def close(self):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def at_terminal(fresh, monkeypatch, tmp_path):
    """Starts a script at a terminal."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with contextlib.ExitStack() as stack:

        def start(script, size):
            session = Session(fresh.script(script), size)
            stack.callback(session.close)
            return session

        yield start


@pytest.mark.parametrize("size", [1, 2])
def test_what_is_typed_reaches_rank_0(at_terminal, size):
    session = at_terminal(
        """
        import os, sys
        if os.environ["RANK"] == "0":
            print("got", repr(input("name? ")), flush=True)
            print("then", repr(sys.stdin.read()))
        else:
            print("other", repr(sys.stdin.read()))
        """,
        size,
    )
    session.wait_for("name? ")
    session.type("me\n")
    session.wait_for("got 'me'")
    session.type("more\n\4")  # Ctrl-D at the start of a line ends the input
    assert session.finish() == 0
    assert "then 'more\\n'" in session.text
    assert ("other ''" in session.text) == (size == 2)


def test_ctrl_c_at_the_terminal(at_terminal):
    session = at_terminal(
        """
        import os, signal
        def handler(number, frame):
            print("interrupted" + os.environ["RANK"], flush=True)
            raise SystemExit(0)
        signal.signal(signal.SIGINT, handler)
        print("ready" + os.environ["RANK"], flush=True)
        while True:
            signal.pause()
        """,
        2,
    )
    session.wait_for("ready0")
    session.wait_for("ready1")
    session.type("\3")
    assert session.finish() == 0
    assert session.text.count("interrupted0") == 1
    assert session.text.count("interrupted1") == 1


def test_input_that_nobody_reads_is_no_failure(at_terminal):
    session = at_terminal(
        """
        import os, signal
        os.close(0)
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
        print("ready", flush=True)
        while True:
            signal.pause()
        """,
        1,
    )
    session.wait_for("ready")
    session.type("to nobody\n")
    session.type("\3")
    assert session.finish() == 0
