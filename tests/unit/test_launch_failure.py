"""Which worker is reported as the first that failed, and what its peers are told."""

from types import SimpleNamespace

import pytest

from pyaccel.commands._launch.failure import Failures

NEVER = float("inf")


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def crew(*tracebacks):
    """Workers that have written a traceback at the times given."""
    workers = [
        SimpleNamespace(rank=rank, ended=False, code=0)
        for rank in range(len(tracebacks))
    ]
    sources = [[SimpleNamespace(traceback_at=at)] for at in tracebacks]
    return workers, Failures(workers, sources)


def fail(failures, worker, now, code=1):
    worker.ended, worker.code = True, code
    failures.add(worker, now)


def test_the_first_to_end_is_the_first_to_fail():
    workers, failures = crew(NEVER, NEVER, NEVER)
    assert not failures
    fail(failures, workers[2], 10.0)
    assert failures
    fail(failures, workers[0], 10.5)
    assert failures.first(10.5) is workers[2]


def test_who_wrote_a_traceback_first_is_waited_for():
    workers, failures = crew(9.5, 9.0)
    fail(failures, workers[0], 10.0)
    assert failures.first(10.0) is None
    assert failures.due() == 12.0
    fail(failures, workers[1], 10.4)
    assert failures.first(10.4) is workers[1]


def test_a_traceback_that_was_no_end_is_not_waited_for_long():
    workers, failures = crew(9.5, 2.0)
    fail(failures, workers[0], 10.0)
    assert failures.first(11.9) is None
    assert failures.first(12.0) is workers[0]


def test_a_traceback_of_who_ended_well_does_not_count():
    workers, failures = crew(9.5, 2.0)
    workers[1].ended = True
    fail(failures, workers[0], 10.0)
    assert failures.first(10.0) is workers[0]


def test_of_several_at_once_a_killed_one_is_first():
    workers, failures = crew(NEVER, NEVER)
    fail(failures, workers[0], 10.0, code=1)
    fail(failures, workers[1], 10.0, code=-9)
    assert failures.first(10.0) is workers[1]


# Joins the group by the C core alone, which imports nothing that takes long.
JOIN = """
    import os, signal, sys
    from pyaccel import _C
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    fd = int(os.environ["PYACCEL_CONTROL"].split(":")[1])
    group = _C.comm_attach(fd, rank, size, 60.0)
    # So that nobody is ended before it could speak.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    group.barrier()
    if rank == 1:
        {end}
    try:
        group.barrier()
    except _C.DistributedPeerError as error:
        print("told:", error, flush=True)
    sys.exit({code})
"""


@pytest.mark.parametrize(
    ("end", "told", "reported"),
    [
        ("os._exit(0)", "ended with exit code 0", None),
        ("os._exit(3)", "ended with exit code 3", "ended with exit code 3"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL", "was killed by SIGKILL"),
    ],
)
def test_peers_are_told_of_an_end(fresh, end, told, reported):
    result = fresh.launch(JOIN.format(end=end, code=0), size=3)
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("told: ")
        assert "rank 1 (pid " in line
        assert f" {told} without entering wait_for_everyone" in line
    if reported is None:
        assert result.check().stderr == ""
    else:
        assert "pyaccel launch: rank 1 (pid " in result.stderr
        assert reported in result.stderr


# Rank 1 raises, and takes until the end of rank 0 to shut down; rank 0 raises because
# rank 1 has left.
CAUSE = """
    import atexit, os, select
    from pyaccel import _C
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    fd = int(os.environ["PYACCEL_CONTROL"].split(":")[1])
    group = _C.comm_attach(fd, rank, size, 60.0)
    pids = group.gather_object(os.getpid())
    if rank == 1:
        peer = os.pidfd_open(pids[0])
        atexit.register(lambda: (group.close(), select.select([peer], [], [], 60)))
        raise ValueError("cause")
    group.barrier()
"""


def test_the_cause_is_reported_and_not_its_consequence(fresh):
    result = fresh.launch(CAUSE, size=2)
    assert result.returncode == 1
    assert "DistributedPeerError" in result.stderr
    [note] = [x for x in result.stderr.splitlines() if x.startswith("pyaccel launch")]
    assert "rank 1 (pid " in note
    assert note.endswith("ended with exit code 1")


def test_leaving_the_group_properly_tells_nobody(fresh):
    result = fresh.launch(
        """
        import os
        from pyaccel import _C
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        fd = int(os.environ["PYACCEL_CONTROL"].split(":")[1])
        group = _C.comm_attach(fd, rank, size, 60.0)
        for _ in range(100):
            group.barrier()
        group.close()
        """,
        size=3,
    )
    assert result.check().stderr == ""
