"""`--tee`, `--log_dir`, `--role`: prefixes of lines, and logs."""

import os
import sys

import pytest

from pyaccel.commands._launch.copies import Log, parse_tee
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.output import Sink, Source

SPEAK = """
    import os, sys
    rank = os.environ["RANK"]
    sys.stdout.write(f"out {rank}\\n")
    sys.stderr.write(f"err {rank}\\n")
"""


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def lines(text):
    return sorted(text.splitlines())


def logs(folder):
    """The logs of the one launch that has written to `folder`: {path: content}."""
    [launch] = folder.iterdir()
    return {
        str(path.relative_to(launch)): path.read_text()
        for path in launch.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("size", [1, 2])
def test_a_prefix_names_the_rank(fresh, size):
    options = ["--tee=3", "--role=worker"]
    result = fresh.launch(SPEAK, size=size, options=options).check()
    assert lines(result.stdout) == [f"[worker{n}]:out {n}" for n in range(size)]
    assert lines(result.stderr) == [f"[worker{n}]:err {n}" for n in range(size)]


def test_each_rank_may_have_its_own(fresh):
    result = fresh.launch(SPEAK, size=3, options=["-t", "0:1,2:2"]).check()
    assert lines(result.stdout) == ["[default0]:out 0", "out 1", "out 2"]
    assert lines(result.stderr) == ["[default2]:err 2", "err 0", "err 1"]


@pytest.mark.parametrize("size", [1, 2])
def test_logs_of_everything(fresh, tmp_path, size):
    folder = tmp_path / "new" / "logs"
    options = [f"--log_dir={folder}"]
    result = fresh.launch(SPEAK, size=size, options=options).check()
    assert lines(result.stdout) == [f"out {n}" for n in range(size)]
    expected = {}
    for n in range(size):
        expected[f"attempt_0/{n}/stdout.log"] = f"out {n}\n"
        expected[f"attempt_0/{n}/stderr.log"] = f"err {n}\n"
    assert logs(folder) == expected


def test_logs_of_what_tee_names(fresh, tmp_path):
    folder = tmp_path / "logs"
    options = ["--log_dir", str(folder), "--tee=0:1,1:2"]
    result = fresh.launch(SPEAK, size=2, options=options).check()
    assert lines(result.stdout) == ["[default0]:out 0", "out 1"]
    assert logs(folder) == {
        "attempt_0/0/stdout.log": "out 0\n",
        "attempt_0/1/stderr.log": "err 1\n",
    }


def test_a_log_that_cannot_be_made_starts_nothing(fresh, tmp_path):
    (tmp_path / "file").touch()
    options = [f"--log_dir={tmp_path / 'file'}"]
    result = fresh.launch("print('never')", size=2, options=options)
    assert result.returncode == 2
    assert result.stdout == ""
    [note] = result.stderr.splitlines()
    assert f"{tmp_path}/file/" in note
    assert "cannot be made: Not a directory; choose another --log_dir" in note


def test_a_full_disk_ends_the_log_and_not_the_launch(monkeypatch):
    complaints = []
    log = Log("/dev/full", complaints.append)
    reading, writing = os.pipe()
    sink = Sink(-1)
    source = Source(reading, sink, log=log)
    for _ in range(2):
        os.write(writing, b"line\n")
        assert source.read(now=0.0)
    os.close(writing)
    source.close()
    assert bytes(sink._pending) == b"line\nline\n"
    [complaint] = complaints
    assert "'/dev/full' cannot be written: No space left on device" in complaint


def test_a_limit_on_files_counts_as_a_full_disk(fresh, tmp_path):
    """It is said even with --quiet: what the user asked for is lost."""
    script = fresh.script(
        """
        import os
        if os.environ["RANK"] == "0":
            for _ in range(6000):
                os.write(1, b"x" * 999 + b"\\n")
        """
    )
    folder = tmp_path / "logs"
    program = (
        "import resource, runpy, sys; from pyaccel import _C;"
        # The shared memory is a file as well, and is made before the limit holds.
        "make = _C.Segment;"
        "limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000000,) * 2);"
        "_C.Segment = lambda size: (make(size), limit())[0];"
        "sys.argv = sys.argv[1:];"
        "runpy.run_module('pyaccel.commands.launch', run_name='__main__')"
    )
    command = [sys.executable, "-c", program, "launch", "--num_processes=2", "-q"]
    command += [f"--log_dir={folder}", str(script)]
    result = fresh.start(command).finish().check()
    assert len(result.stdout) == 6000 * 1000
    [note] = result.stderr.splitlines()
    assert "0/stdout.log' cannot be written: File too large; it ends here" in note
    assert len(logs(folder)["attempt_0/0/stdout.log"]) == 5000000


@pytest.mark.parametrize(
    ("text", "values"),
    [("0", [0, 0, 0]), ("3", [3, 3, 3]), ("1:2", [0, 2, 0]), ("0:1,2:3", [1, 0, 3])],
)
def test_values_of_tee(text, values):
    assert parse_tee(text, 3) == values


@pytest.mark.parametrize("text", ["4", "", "all", "0:", ":1", "0:4", "x:1", "0:1;1:2"])
def test_what_is_no_value_of_tee(text):
    with pytest.raises(LaunchError, match="--tee must be 0, 1, 2 or 3"):
        parse_tee(text, 3)


def test_a_rank_that_is_not_there():
    with pytest.raises(LaunchError, match="names rank 3, but there are 3 processes"):
        parse_tee("3:1", 3)


def test_prefixes_stand_at_starts_of_lines_only():
    reading, writing = os.pipe()
    sink = Sink(-1)
    source = Source(reading, sink, prefix=b"> ")
    for piece in (b"one\ntw", b"o\r\n50%\r100%\r", b"\nlast"):
        os.write(writing, piece)
        source.read(now=0.0)
    source.flush()
    os.write(writing, b" line")
    source.read(now=0.0)
    os.close(writing)
    source.close()
    assert bytes(sink._pending) == b"> one\n> two\r\n> 50%\r> 100%\r\n> last line"
