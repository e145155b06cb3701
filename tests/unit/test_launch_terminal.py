"""A launch at a terminal: rank 0 has one too, and Ctrl-C reaches everyone."""

import contextlib
import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
import termios
import time

import pytest

from tests.house.repository import ROOT


class Session:
    """A launch in a session of its own, whose terminal the test types at.

    `shell` is text for `sh`, which then leads the session; LAUNCH in it is the launch.
    """

    def __init__(self, script, size, *options, shell="exec LAUNCH"):
        words = [sys.executable, "-m", "pyaccel", "launch", f"--num_processes={size}"]
        command = shlex.join([*words, *options, str(script)])
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
            os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
            os.execv("/bin/sh", ["sh", "-c", shell.replace("LAUNCH", command)])
        self.text = ""

    def wait_for(self, text):
        """Read until the terminal has shown `text`; fails after 30 seconds."""
        deadline = time.monotonic() + 30
        while text not in self.text:
            self._read(deadline)

    def _read(self, deadline):
        left = max(0, deadline - time.monotonic())
        assert select.select([self.fd], [], [], left)[0], self.text
        self.text += os.read(self.fd, 65536).decode()

    def wait_for_match(self, pattern):
        """As `wait_for`, with a pattern; the match."""
        while (found := re.search(pattern, self.text)) is None:
            self._read(time.monotonic() + 30)
        return found

    def modes(self):
        """The modes of the terminal."""
        return termios.tcgetattr(self.fd)

    def type(self, text):
        os.write(self.fd, text.encode())

    def finish(self):
        """What the launcher ended with: its exit code, or minus a signal."""
        deadline = time.monotonic() + 60
        with contextlib.suppress(OSError):  # the terminal is closed when all have ended
            while True:
                self._read(deadline)
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

        def start(script, size, *options, **more):
            session = Session(fresh.script(script), size, *options, **more)
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


ABOUT_STREAMS = """
    import os, sys
    rank = os.environ["RANK"]
    print("rank", rank, [stream.isatty() for stream in (sys.stdin, sys.stdout,
        sys.stderr)], flush=True)
    if rank == "0":
        print("size", tuple(os.get_terminal_size(1)), flush=True)
        print("group", os.tcgetpgrp(0) == os.getpgrp() == os.getpid(), flush=True)
"""


@pytest.mark.parametrize("size", [1, 2])
def test_rank_0_has_a_terminal_of_its_own(at_terminal, size):
    # The size is set before the launcher starts.
    session = at_terminal(ABOUT_STREAMS, size, shell="stty cols 66 rows 33; LAUNCH")
    assert session.finish() == 0
    assert "rank 0 [True, True, True]" in session.text
    assert "size (66, 33)" in session.text
    assert "group True" in session.text
    if size == 2:
        assert "rank 1 [False, False, False]" in session.text


def test_streams_that_go_elsewhere_are_no_terminal(at_terminal, tmp_path):
    out = tmp_path / "out"
    session = at_terminal(
        ABOUT_STREAMS.replace("(1)", "(2)"), 2, shell=f"LAUNCH >{out}"
    )
    assert session.finish() == 0
    assert "rank 0 [True, False, True]" in out.read_text()


def test_without_a_terminal_to_type_at_output_still_is_one(at_terminal):
    script = "import sys; print(sys.stdout.isatty(), repr(sys.stdin.read()))"
    session = at_terminal(script, 2, shell="echo text | LAUNCH")
    assert session.finish() == 0
    assert "True 'text\\n'" in session.text
    assert "False ''" in session.text


def test_a_prefix_makes_the_stream_a_pipe(at_terminal):
    session = at_terminal(ABOUT_STREAMS.replace("(1)", "(0)"), 2, "--tee=1")
    assert session.finish() == 0
    assert "[default0]:rank 0 [True, False, True]" in session.text
    assert "[default1]:rank 1 [False, False, False]" in session.text


def test_a_changed_size_reaches_rank_0(at_terminal):
    session = at_terminal(
        """
        import os, signal
        if os.environ["RANK"] == "0":
            changed = {signal.SIGWINCH}
            signal.pthread_sigmask(signal.SIG_BLOCK, changed)
            print("ready", flush=True)
            while os.get_terminal_size(1).columns != 123:
                signal.sigwait(changed)
            print("wide enough")
        """,
        2,
    )
    session.wait_for("ready")
    fcntl.ioctl(session.fd, termios.TIOCSWINSZ, struct.pack("4H", 40, 123, 0, 0))
    session.wait_for("wide enough")
    assert session.finish() == 0


def test_a_progress_bar_redraws_its_line(at_terminal):
    session = at_terminal(
        """
        import os
        from tqdm import tqdm
        bar = tqdm(range(3), disable=os.environ["RANK"] != "0", mininterval=0)
        for _ in bar:
            bar.refresh()
        """,
        2,
    )
    assert session.finish() == 0
    assert "\r 33%|" in session.text
    assert "\r100%|" in session.text
    # One line end, after the last.
    assert session.text.count("\n") == 1


def test_a_debugger_has_its_line_editing(at_terminal):
    session = at_terminal(
        """
        import os, sys
        if os.environ["RANK"] == "0":
            secret = 40 + 2
            breakpoint()
            print("went on with", secret)
        else:
            print("other", repr(sys.stdin.read()), flush=True)
        """,
        2,
    )
    session.wait_for("(Pdb) ")
    session.type("p secret * 10\r")
    session.wait_for("420")
    # Shown once, by whoever edits the line, and not by both terminals.
    assert session.text.count("p secret * 10") == 1
    session.type("secret = 99\r")
    # Ctrl-A goes to the start of the line, in front of which the p is put.
    session.type("secret\1p \r")
    session.wait_for("99")
    session.type("c\r")
    assert session.finish() == 0
    assert "went on with 99" in session.text
    assert "other ''" in session.text


def test_a_typed_key_is_shown_at_once_and_once(at_terminal):
    session = at_terminal("print('got', input('> '), 'so')", 1)
    session.wait_for("> ")
    session.type("abc")
    session.wait_for("> abc")
    session.type("\x7fd\n")  # the last one taken back
    session.wait_for("got abd so")
    assert session.finish() == 0


STUBBORN = """
    import os, signal
    rank = os.environ["RANK"]
    signal.signal(signal.SIGINT, lambda *_: print("heard", rank, flush=True))
    print("ready" + os.environ["RANK"], flush=True)
    while True:
        signal.pause()
"""


def test_a_second_ctrl_c_at_the_terminal_kills(at_terminal):
    session = at_terminal(STUBBORN, 2, "--grace=1000")
    session.wait_for("ready0")
    session.wait_for("ready1")
    session.type("\3")
    session.wait_for("heard 0")
    session.wait_for("heard 1")
    session.type("\3")
    assert session.finish() == 128 + signal.SIGKILL


def test_the_terminal_is_left_as_it_was(at_terminal):
    shell = "LAUNCH; echo code $?; read line"
    session = at_terminal(
        "import sys; print('typed', repr(sys.stdin.readline()))", 2, shell=shell
    )
    before = session.modes()
    session.wait_for("typed ''")  # by rank 1, which has nothing to read
    session.type("something\r")
    session.wait_for("typed 'something")
    session.wait_for("code 0")
    assert session.modes() == before
    session.type("\n")
    assert session.finish() == 0


def test_a_killed_launcher_leaves_the_terminal_as_it_was(at_terminal):
    script = """
        import os
        if os.environ["RANK"] == "0":
            print("parent", os.getppid(), ".", flush=True)
            while input():
                print("in raw mode", flush=True)
        else:
            import signal; signal.pause()
    """
    shell = "stty -a >/dev/null; LAUNCH; echo code $?; read line"
    session = at_terminal(script, 2, shell=shell)
    before = session.modes()
    launcher = int(session.wait_for_match(r"parent (\d+) ")[1])
    session.type("x\r")
    session.wait_for("in raw mode")
    assert session.modes() != before
    os.kill(launcher, signal.SIGKILL)
    session.wait_for("code 137")
    # Whoever restores the modes may be a moment later than the shell.
    deadline = time.monotonic() + 30
    while session.modes() != before:
        assert time.monotonic() < deadline
        os.sched_yield()
    session.type("\n")
    assert session.finish() == 0


def test_ctrl_z_stops_the_job_and_it_goes_on(at_terminal):
    script = """
        import os, signal
        signal.signal(signal.SIGCONT, lambda *_: print("went on", flush=True))
        print("ready" + os.environ["RANK"], flush=True)
        if os.environ["RANK"] == "0":
            print("read", input())
        else:
            signal.pause()
            os._exit(0)
    """
    shell = "set -m; LAUNCH; echo stopped; read line; fg; echo code $?"
    session = at_terminal(script, 2, shell=shell)
    before = session.modes()
    session.wait_for("ready0")
    session.wait_for("ready1")
    session.type("\x1a")
    session.wait_for("stopped")
    assert session.modes() == before
    session.type("\n")
    session.wait_for("went on")
    session.type("more\r")
    session.wait_for("read more")
    session.wait_for("code 0")
    assert session.finish() == 0


def test_a_launch_in_a_launch(at_terminal, tmp_path):
    """Its rank 0 has a terminal as well, and Ctrl-C reaches all."""
    inner = tmp_path / "inner.py"
    inner.write_text(
        "import os, signal, sys\n"
        "print('inner', os.environ['RANK'], sys.stdout.isatty(), flush=True)\n"
        "signal.pause()\n"
    )
    script = f"""
        import os, subprocess, sys
        if os.environ["RANK"] == "0":
            command = [sys.executable, "-m", "pyaccel", "launch", "--num_processes=2"]
            raise SystemExit(subprocess.call([*command, {str(inner)!r}]))
    """
    session = at_terminal(script, 2)
    session.wait_for("inner 0 True")
    session.wait_for("inner 1 False")
    session.type("\3")
    assert session.finish() > 128
