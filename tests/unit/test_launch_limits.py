"""Launches where the system gives little: limits, sandboxes; and launches of many."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest

from pyaccel.commands._launch import run
from pyaccel.commands._launch.errors import LaunchError

LAUNCH = (sys.executable, "-m", "pyaccel.commands.launch")


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def test_many_workers(fresh):
    command = [*LAUNCH, "--num_processes=64", "--no_python", "sh", "-c"]
    result = fresh.start([*command, "echo $RANK; echo $RANK >&2"]).finish().check()
    for text in (result.stdout, result.stderr):
        assert sorted(map(int, text.split())) == list(range(64))


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_open", "prctl"])
def test_a_refused_system_call(fresh, call):
    """Workers start without what is refused: PartialState has other ways to meet."""
    sandbox = [sys.executable, "-m", "tests.harness.seccomp", call]
    script = fresh.script(
        "import os; fd = os.environ['PYACCEL_CONTROL'].split(':')[1];"
        "print(os.environ['RANK'], fd != '-1')"
    )
    result = fresh.start([*sandbox, *LAUNCH, "--num_processes=2", str(script)]).finish()
    shared = call != "memfd_create"
    assert sorted(result.check().stdout.splitlines()) == [f"0 {shared}", f"1 {shared}"]
    assert result.stderr == ""


def test_a_killed_launcher_leaves_nothing_without_the_parent_death_signal(fresh):
    sandbox = [sys.executable, "-m", "tests.harness.seccomp", "prctl"]
    script = fresh.script("import signal; print('ready', flush=True); signal.pause()")
    running = fresh.start([*sandbox, *LAUNCH, "--num_processes=2", str(script)])
    running.wait_for("ready\nready\n")
    running.signal(signal.SIGKILL)
    assert running.finish().returncode == -signal.SIGKILL
    assert fresh.leftovers() == []


def test_a_limit_on_processes(monkeypatch):
    """Those that were started are ended, and the message says what helps."""
    ended = []

    def start(rank, *_, **__):
        if rank == 2:
            raise BlockingIOError(11, "making a process: Resource temporarily unavaila")
        return SimpleNamespace(
            send=lambda number: ended.append((rank, number)), reap=lambda: None
        )

    monkeypatch.setattr(run.worker, "start", start)
    stdio = SimpleNamespace(of_rank=lambda rank: ((0, 1, 2), False, []))
    message = "rank 2 of 4 cannot be started: making .*; start fewer, or raise the lim"
    with pytest.raises(LaunchError, match=message):
        run._start(4, ["/bin/true"], {}, stdio, None)
    assert ended == [(0, signal.SIGKILL), (1, signal.SIGKILL)]


@pytest.mark.parametrize("size", [1, 2])
def test_an_empty_script_and_one_of_nothing(fresh, size):
    for script in (str(fresh.script("")), os.devnull):
        command = [*LAUNCH, f"--num_processes={size}", script]
        result = fresh.start(command).finish().check()
        assert result.stdout == result.stderr == ""


def test_output_into_head(fresh):
    """The first line is enough, and nobody complains."""
    script = fresh.script("while True:\n    print('line')")
    launch = f'"{sys.executable}" -m pyaccel launch --num_processes=2 "{script}"'
    command = f"{{ {launch}; echo ended $? >&2; }} | head -n 1"
    result = fresh.start(["sh", "-c", command]).finish().check()
    assert result.stdout == "line\n"
    assert result.stderr == f"ended {128 + signal.SIGPIPE}\n"
    assert fresh.leftovers() == []
