"""The runner of scripts in new interpreters."""

import signal

import pytest

from tests.harness import HarnessError

SHOW = """
    import os, sys
    print(os.environ.get("RANK"), os.environ.get("WORLD_SIZE"), *sys.argv[1:])
"""


def test_python_starts_without_a_launchers_variables(fresh, monkeypatch):
    monkeypatch.setenv("RANK", "7")
    result = fresh.python(SHOW, "a").check()
    assert result.stdout == "None None a\n"


def test_variables_give_every_rank_its_own_result(fresh):
    results = fresh.variables(SHOW, size=3)
    assert [result.stdout for result in results] == ["0 3\n", "1 3\n", "2 3\n"]


def test_torchrun(fresh):
    result = fresh.torchrun(SHOW, size=2).check()
    # The workers share a pipe, where the pieces of their lines may mix.
    assert sorted(result.stdout.split()) == ["0", "1", "2", "2"]


def test_a_failing_command(fresh):
    result = fresh.python("import sys; print('why', file=sys.stderr); sys.exit(3)")
    assert result.returncode == 3
    with pytest.raises(RuntimeError, match=r"exited with code 3(.|\n)*why"):
        result.check()


def test_the_deadline_shows_the_output_so_far(fresh):
    script = "import signal; print('begun', flush=True); signal.pause()"
    with pytest.raises(HarnessError, match=r"did not end within 2.0 s(.|\n)*begun"):
        fresh.python(script, timeout=2.0)


def test_signals_to_a_running_command(fresh):
    running = fresh.start_python(
        "import signal; print('up', flush=True); signal.pause()"
    )
    running.wait_for("up")
    running.signal(signal.SIGTERM)
    assert running.finish().returncode == -signal.SIGTERM


def test_orphans_are_found_and_ended(fresh):
    script = """
        import os, subprocess, sys
        child = "import signal; print('up', flush=True); signal.pause()"
        with open(os.devnull) as null:
            process = subprocess.Popen(
                [sys.executable, "-c", child],
                stdout=subprocess.PIPE, stderr=null, start_new_session=True,
            )
        process.stdout.readline()
        print(process.pid)
    """
    result = fresh.python(script).check()
    orphan = int(result.stdout)
    assert fresh.leftovers(timeout=0.1) == [orphan]
    fresh.close()
    assert fresh.leftovers(timeout=0) == []
