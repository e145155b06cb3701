"""Output of workers: whole lines, the bytes as they are, as it comes, kept apart."""

import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from pyaccel.commands._launch.output import PATIENCE, Sink, Source
from tests.house.repository import ROOT


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


@pytest.fixture
def start(fresh):
    """Starts a launch whose output is read as bytes, or not read at all."""
    started = []

    def start(script, size=2, **options):
        command = [sys.executable, "-m", "pyaccel", "launch", f"--num_processes={size}"]
        process = subprocess.Popen(
            [*command, str(fresh.script(script))],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **{"stdout": subprocess.PIPE, **options},
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_lines_of_workers_do_not_mix(start):
    script = """
        import os
        rank = os.environ["RANK"].encode()
        for number in range(300):
            # In pieces of odd lengths, so that lines are cut everywhere.
            line = rank * (number % 97) + b"\\n"
            os.write(1, line[: number % 31])
            os.write(1, line[number % 31 :])
    """
    out, err = start(script, size=3).communicate(timeout=60)
    assert err == b""
    lines = out.splitlines()
    assert all(len(set(line)) <= 1 for line in lines)
    for rank in b"0", b"1", b"2":
        lengths = [len(line) for line in lines if line.startswith(rank)]
        assert lengths == [n % 97 for n in range(300) if n % 97]


def test_bytes_arrive_as_they_are(start):
    script = """
        import os, sys
        if os.environ["RANK"] == "0":
            os.write(1, bytes(range(256)) * 3000)
            os.write(2, b"\\xff\\x00 no end")
    """
    out, err = start(script).communicate(timeout=60)
    assert out == bytes(range(256)) * 3000
    assert err == b"\xff\x00 no end"


def test_much_output_of_everyone_is_complete(start):
    script = """
        import os
        line = os.environ["RANK"] * 1000 + "\\n"
        for _ in range(2000):
            os.write(1, line.encode())
    """
    out, _ = start(script).communicate(timeout=60)
    lines = out.splitlines()
    assert len(lines) == 4000
    assert set(lines) == {b"0" * 1000, b"1" * 1000}


def read_until(process, end):
    """What has come when it ends with `end`; fails after 30 seconds."""
    data = b""
    deadline = time.monotonic() + 30
    while not data.endswith(end):
        left = deadline - time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], max(0, left))
        assert ready, f"only {data!r} has come"
        data += os.read(process.stdout.fileno(), 65536)
    return data


def test_output_comes_while_workers_run(start, monkeypatch):
    """What `print` writes too, which Python would keep back before a pipe."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    script = """
        import os, signal, sys
        if os.environ["RANK"] == "0":
            print("line")
            print("prompt> ", end="")
        signal.pause()
    """
    process = start(script)
    assert read_until(process, b"prompt> ") == b"line\nprompt> "
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM


def test_a_reader_that_goes_away_ends_the_writers(start):
    script = """
        import os
        while True:
            os.write(1, b"x" * 100 + b"\\n")
    """
    process = start(script)
    read_until(process, b"\n")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    # As a program ends that does not handle SIGPIPE, without a traceback a worker.
    assert process.returncode == 128 + signal.SIGPIPE
    assert err == b""


def test_a_reader_that_does_not_read_holds_nothing_up(start):
    """Signals are still answered, and what is kept is bounded."""
    script = """
        import os
        written = 0
        while True:
            os.write(1, b"x" * 1000 + b"\\n")
            written += 1001
            if written == 1001 * 20:
                os.write(2, b"many\\n")
    """
    process = start(script)
    # 20 KB a worker fit into the pipes, of which this test reads nothing.
    assert process.stderr.readline() == b"many\n"
    assert process.stderr.readline() == b"many\n"
    process.send_signal(signal.SIGINT)
    assert b"received SIGINT" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) > 128


# One source between a pipe and a sink, without processes.


@pytest.fixture
def pipe():
    """(a descriptor to write, the source that reads it)."""
    reading, writing = os.pipe()
    source = Source(reading, Sink(-1))
    yield writing, source
    source.close()
    os.close(writing)


def pending(source):
    return bytes(source.sink._pending)


@pytest.mark.parametrize(
    ("written", "passed_on"),
    [
        (b"line\n", b"line\n"),
        (b"one\ntwo", b"one\n"),
        (b"10%\r20%", b"10%\r"),
        (b"10%\r20%\r", b"10%\r"),
        (b"line\r", b""),
        (b"line\r\n", b"line\r\n"),
        (b"no end", b""),
    ],
)
def test_only_whole_lines_are_passed_on_at_once(pipe, written, passed_on):
    writing, source = pipe
    os.write(writing, written)
    assert source.read(now=10.0)
    assert pending(source) == passed_on
    assert not source.read(now=11.0)
    if written == passed_on:
        assert source.due is None
    else:
        assert source.due == 10.0 + PATIENCE
        source.flush()
        assert pending(source) == written
        assert source.due is None


def test_more_of_an_unfinished_line_does_not_put_it_off(pipe):
    writing, source = pipe
    os.write(writing, b"a")
    source.read(now=10.0)
    os.write(writing, b"b")
    source.read(now=10.04)
    assert source.due == 10.0 + PATIENCE
    os.write(writing, b"c\nd")
    source.read(now=10.045)
    assert pending(source) == b"abc\n"
    assert source.due == 10.045 + PATIENCE


def test_a_very_long_line_is_passed_on_in_pieces(pipe):
    writing, source = pipe
    for _ in range(3):
        os.write(writing, b"x" * 40000)
        source.read(now=10.0)
    assert len(pending(source)) == 80000


def test_the_end_of_output_passes_on_the_rest(pipe):
    writing, source = pipe
    os.write(writing, b"rest")
    source.read(now=10.0)
    source.close()
    source.close()
    assert pending(source) == b"rest"
    assert not source.open


def test_the_launchers_own_lines_stand_alone():
    sink = Sink(-1)
    sink.say("first")
    sink.put(b"half")
    sink.say("second \udcff")
    text = re.sub(rb"pyaccel launch: ", b"> ", bytes(sink._pending))
    assert text == b"> first\nhalf\n> second \\udcff\n"
