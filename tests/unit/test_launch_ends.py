"""How a launch ends: failures, signals, and that no process outlives it."""

import os
import signal
import sys

import pytest

# Waits for a signal, for ever; says so first, when that can be relied on.
WAIT = """
    import os, signal, sys
    {before}
    print("ready" + os.environ["RANK"], flush=True)
    while True:
        signal.pause()
"""


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def start_waiting(fresh, size, *options, before="pass"):
    """A launch whose workers all wait."""
    script = WAIT.format(before=before)
    running = fresh.start_launch(script, size=size, options=options)
    for rank in range(size):
        running.wait_for(f"ready{rank}")
    return running


def notes(result):
    """The lines that the launcher itself has said."""
    return [x for x in result.stderr.splitlines() if x.startswith("pyaccel launch: ")]


@pytest.mark.parametrize("size", [1, 3])
def test_an_exit_code_is_passed_through(fresh, size):
    script = """
        import os, signal, sys
        if os.environ["RANK"] == "0":
            sys.exit(7)
        signal.pause()
    """
    result = fresh.launch(script, size=size)
    assert result.returncode == 7
    [note] = notes(result)
    assert "rank 0 (pid " in note
    assert "ended with exit code 7" in note
    assert ("; ending the other 2" in note) == (size == 3)
    assert fresh.leftovers() == []


def test_a_traceback_stands_before_the_report(fresh):
    script = """
        import os, signal
        if os.environ["RANK"] == "1":
            raise ValueError("this is why")
        signal.pause()
    """
    result = fresh.launch(script, size=2)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert "ValueError: this is why" in lines
    assert lines[-1] == notes(result)[0]
    assert "rank 1 (pid " in lines[-1]


def test_a_killed_worker_is_named_with_its_signal(fresh):
    script = """
        import os, signal
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
    """
    result = fresh.launch(script, size=2)
    assert result.returncode == 128 + signal.SIGKILL
    [note] = notes(result)
    assert "rank 1 (pid " in note
    assert "was killed by SIGKILL" in note


def test_every_worker_ending_well_is_no_failure(fresh):
    result = fresh.launch("print('done')", size=3).check()
    assert result.stdout == "done\n" * 3
    assert result.stderr == ""


def test_quiet_leaves_the_report_out(fresh):
    script = "import sys; sys.stderr.write('mine\\n'); sys.exit(4)"
    result = fresh.launch(script, size=1, options=["--quiet"])
    assert result.returncode == 4
    assert result.stderr == "mine\n"


def test_the_report_stands_on_a_line_of_its_own(fresh):
    script = "import os; os.write(2, b'no line end'); os._exit(3)"
    result = fresh.launch(script, size=2)
    assert "no line end\npyaccel launch: rank" in result.stderr


@pytest.mark.parametrize("size", [1, 2])
def test_ctrl_c_reaches_every_worker_once(fresh, size):
    before = """
    def handler(number, frame):
        os.write(1, b"interrupted\\n")  # print may be what it interrupts
        sys.exit(0)
    signal.signal(signal.SIGINT, handler)
    """
    running = start_waiting(fresh, size, before=before)
    running.signal(signal.SIGINT, group=True)
    result = running.finish()
    assert result.stdout.count("interrupted") == size
    assert result.returncode == 0
    assert "received SIGINT" in notes(result)[0]
    assert fresh.leftovers() == []


def test_ctrl_c_ends_workers_that_do_not_handle_it(fresh):
    running = start_waiting(fresh, 2)
    running.signal(signal.SIGINT, group=True)
    result = running.finish()
    assert result.stderr.count("KeyboardInterrupt") == 2
    assert result.returncode == 128 + signal.SIGINT
    # Being interrupted is no failure to report.
    assert len(notes(result)) == 1


IGNORE = """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
"""


def test_a_second_ctrl_c_kills(fresh):
    running = start_waiting(fresh, 2, "--grace=1000", before=IGNORE)
    running.signal(signal.SIGINT, group=True)
    running.wait_for("received SIGINT")
    running.signal(signal.SIGINT, group=True)
    assert running.finish().returncode == 128 + signal.SIGKILL
    assert fresh.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_does_not_follow_a_signal_is_killed(fresh, number):
    running = start_waiting(fresh, 2, "--grace=0.1", before=IGNORE)
    running.signal(number)
    assert running.finish().returncode == 128 + signal.SIGKILL
    assert fresh.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(fresh, number):
    running = start_waiting(fresh, 2, "--grace=1000")
    running.signal(number)
    assert running.finish().returncode == 128 + number
    assert fresh.leftovers() == []


def test_an_ignored_signal_stays_ignored(fresh):
    """As under nohup: the launcher and its workers go on."""
    running = fresh.start(
        [
            *("sh", "-c", 'trap "" HUP; exec "$0" "$@"', sys.executable, "-m"),
            *("pyaccel", "launch", "--num_processes=1"),
            str(fresh.script(WAIT.format(before="pass"))),
        ]
    )
    running.wait_for("ready0")
    running.signal(signal.SIGHUP)
    running.signal(signal.SIGTERM)
    result = running.finish()
    assert result.returncode == 128 + signal.SIGTERM
    assert "SIGHUP" not in result.stderr


def test_a_stubborn_peer_of_a_failed_worker_is_killed(fresh):
    script = """
        import os, signal, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.environ["RANK"] == "0":
            sys.stdin.read()
            sys.exit(5)
        signal.pause()
    """
    result = fresh.launch(script, size=2, options=["--grace=0.1"])
    assert result.returncode == 5
    assert fresh.leftovers() == []


# A child in the worker's process group that outlives it unless it is ended.
CHILD = """
    import subprocess
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal; print('child', flush=True);"
         "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"],
        stdout=subprocess.PIPE)
    child.stdout.readline()
"""

PRINT_PID = """
    print(f"pid{os.environ['RANK']}={os.getpid()} ", flush=True)
"""


@pytest.mark.parametrize("size", [1, 2])
def test_a_killed_launcher_leaves_nothing(fresh, size):
    running = start_waiting(fresh, size, before=CHILD)
    running.signal(signal.SIGKILL)
    assert running.finish().returncode == -signal.SIGKILL
    assert fresh.leftovers() == []


@pytest.mark.parametrize("code", [0, 3])
def test_children_of_ended_workers_are_ended(fresh, code):
    script = f"""
    import os, signal, sys{CHILD}
    os._exit({code})
    """
    result = fresh.launch(script, size=2, options=["--grace=0.1"])
    assert result.returncode == code
    assert fresh.leftovers() == []


def test_a_child_of_a_killed_worker_is_ended(fresh):
    running = start_waiting(fresh, 2, "--grace=0.1", before=CHILD + PRINT_PID)
    pid = int(running.wait_for("pid0=").partition("pid0=")[2].split()[0])
    os.kill(pid, signal.SIGKILL)
    result = running.finish()
    assert result.returncode == 128 + signal.SIGKILL
    assert f"rank 0 (pid {pid}) was killed by SIGKILL" in notes(result)[0]
    assert fresh.leftovers() == []


def test_a_stopped_worker_is_ended_too(fresh):
    running = start_waiting(fresh, 2, "--grace=1000", before=PRINT_PID)
    pid = int(running.wait_for("pid1=").partition("pid1=")[2].split()[0])
    os.kill(pid, signal.SIGSTOP)
    running.signal(signal.SIGTERM)
    assert running.finish().returncode == 128 + signal.SIGTERM


def test_workers_that_cannot_be_started(fresh):
    """The limit on open files stands in for every shortage."""
    launcher = f'"{sys.executable}" -m pyaccel launch --num_processes=20'
    script = fresh.script("import signal; signal.pause()")
    result = fresh.start(["sh", "-c", f'ulimit -n 40; {launcher} "{script}"']).finish()
    assert result.returncode == 2
    [note] = notes(result)
    assert " of 20 cannot be started: Too many open files" in note
    assert fresh.leftovers() == []


def test_a_program_that_cannot_be_executed(fresh, tmp_path):
    program = tmp_path / "program"
    program.write_text("no program")
    program.chmod(0o755)
    command = [sys.executable, "-m", "pyaccel", "launch", "--num_processes=2"]
    result = fresh.start([*command, "--no_python", str(program)]).finish()
    assert result.returncode == 2
    [note] = notes(result)
    assert f"rank 0 of 2 cannot be started: executing {program}: Exec format" in note


def test_a_segment_that_cannot_be_made(fresh):
    """The limit on the size of files holds for shared memory too."""
    launcher = f'"{sys.executable}" -m pyaccel launch --num_processes=2'
    script = fresh.script("print('never')")
    result = fresh.start(["sh", "-c", f'ulimit -f 0; {launcher} "{script}"']).finish()
    assert result.returncode == 2
    assert result.stdout == ""
    [note] = notes(result)
    assert "the shared memory of 2 processes cannot be made" in note
