"""The harness's own promises: results, errors, deadlines, warm groups, clean ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.harness import RankError, Ranks, RanksTimeoutError, every_size, here


def where(value):
    assert here.pids[here.rank] == os.getpid()
    return here.rank, here.size, value, os.getpid()


@every_size
def test_every_rank_returns_its_result_in_order(ranks, size):
    results = ranks.run(where, "x", size=size)
    assert [result[:3] for result in results] == [(r, size, "x") for r in range(size)]


def test_eight_ranks(ranks):
    assert [result[0] for result in ranks.run(where, None, size=8)] == list(range(8))


def test_a_group_stays_warm(ranks):
    first = ranks.run(where, 1, size=2)
    began = time.monotonic()
    assert [r[3] for r in ranks.run(where, 2, size=2)] == [r[3] for r in first]
    # Milliseconds on an idle machine; this only tells a warm group from an import.
    assert time.monotonic() - began < 1.0


def test_an_own_group_is_nobody_elses(ranks):
    before = {result[3] for result in ranks.run(where, 0, size=2)}
    own = {result[3] for result in ranks.run(where, 0, size=2, own_group=True)}
    after = {result[3] for result in ranks.run(where, 0, size=2)}
    assert not own & (before | after)


def environment():
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    return [os.environ[name] for name in names], os.environ.get("EXTRA")


def test_ranks_have_the_launchers_environment(ranks):
    for rank, (values, extra) in enumerate(ranks.run(environment, size=3)):
        assert values == [str(rank), str(rank), "3", "3", "127.0.0.1"]
        assert extra is None


def test_environment_of_a_run_is_undone(ranks):
    assert ranks.run(environment, env={"EXTRA": "1"})[0][1] == "1"
    assert ranks.run(environment)[0][1] is None


def fail_on(rank):
    secret = "seen in the report"
    print("before the failure")
    assert here.rank != rank, "as asked"
    here.wait("what nobody posts", timeout=60)
    return secret


def test_an_error_names_the_rank_and_shows_its_traceback(ranks):
    with pytest.raises(RankError) as caught:
        ranks.run(fail_on, 1)
    text = str(caught.value)
    assert text.startswith("rank 1 raised AssertionError: as asked")
    assert 'assert here.rank != rank, "as asked"' in text
    assert "secret = 'seen in the report'" in text
    assert "before the failure" in text


def raise_in(rank, kind):
    if here.rank == rank:
        raise kind("told")
    return here.rank


def test_outcomes_instead_of_errors(ranks):
    outcomes = ranks.run(raise_in, 0, UnicodeError, size=2, check=False)
    assert outcomes[0].exception_type_name == "builtins.UnicodeError"
    assert outcomes[0].raised(ValueError)
    assert not outcomes[0].raised(OSError)
    assert outcomes[0].message == "told"
    assert outcomes[1].returned
    assert outcomes[1].value == 1


def end_by(rank, how):
    if here.rank == rank:
        here.die(how) if isinstance(how, signal.Signals) else sys.exit(how)
    here.wait_ended(rank)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (3, 3), (None, 0)])
def test_an_end_is_reported(ranks, how, code):
    outcomes = ranks.run(end_by, 1, how, check=False)
    assert outcomes[1].exit == code
    assert not outcomes[1].returned
    assert outcomes[0].returned
    assert ranks.run(where, 0)[1][:2] == (1, 2)


def test_an_end_is_an_error(ranks):
    with pytest.raises(RankError, match="rank 0 was killed by SIGKILL"):
        ranks.run(end_by, 0, signal.SIGKILL)


def wait_for_nobody():
    if here.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        here.wait("nothing")


def test_the_deadline_shows_all_stacks(ranks):
    with pytest.raises(RanksTimeoutError) as caught:
        ranks.run(wait_for_nobody, timeout=0.5)
    text = str(caught.value)
    assert "rank 0, 1 not done within 0.5 s" in text
    assert text.count("in wait_for_nobody") == 2


def return_lock():
    return threading.Lock()


def test_a_result_that_cannot_be_pickled_is_the_ranks_error(ranks):
    with pytest.raises(RankError, match=r"rank \d raised TypeError: cannot pickle"):
        ranks.run(return_lock)


def test_only_functions_that_ranks_can_find(ranks):
    with pytest.raises(TypeError, match="module's top level"):
        ranks.run(lambda: None)


def count_files():
    return sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def test_ranks_hold_no_files_of_others(ranks):
    ranks.run(where, 0, size=3)
    for files, threads in ranks.run(count_files, size=4, own_group=True):
        # Three streams, the channel, the segment and that of messages, and the listing
        # itself.
        assert len(files) <= 7, files
        assert threads == 1


def write_on_both():
    print("out", here.rank)
    print("err", here.rank, file=sys.stderr)
    os.write(1, b"raw\n")


def test_output_is_kept_by_rank_and_run(ranks):
    for outcome in ranks.run(write_on_both, check=False):
        assert outcome.stdout == f"out {outcome.rank}\nraw\n"
        assert outcome.stderr == f"err {outcome.rank}\n"
    assert ranks.run(where, 0, check=False)[0].stdout == ""


def meet_twice():
    here.meet("first")
    here.meet("second")


def test_ranks_meet_beside_the_communicator(ranks):
    ranks.run(meet_twice, size=4)


def test_closing_ends_every_process():
    own = Ranks(preload=())
    pids = [result[3] for result in own.run(where, 0, size=2)]
    own.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_nothing_outlives_a_killed_client():
    script = (
        "import os, signal; from tests.harness import Ranks; "
        "from tests.harness.test_ranks import where; own = Ranks(preload=()); "
        "pids = [result[3] for result in own.run(where, 0, size=2)]; "
        "print(own._process.pid, *pids, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    pids = [int(pid) for pid in result.stdout.split()]
    assert len(pids) == 3
    for pid in pids:
        wait_gone(pid, 10.0)


INTERRUPTED = """
    from tests.harness import Ranks
    from tests.harness.test_ranks import wait_for_nobody, where

    own = Ranks(preload=())
    pids = [result[3] for result in own.run(where, 0, size=2)]
    print(own._process.pid, *pids, flush=True)
    own.run(wait_for_nobody)
"""


def test_nothing_outlives_an_interrupted_client(fresh):
    running = fresh.start_python(INTERRUPTED)
    running.wait_for("\n")
    running.signal(signal.SIGINT, group=True)
    finished = running.finish()
    assert "KeyboardInterrupt" in finished.stderr
    for pid in finished.stdout.split():
        wait_gone(int(pid), 10.0)


def wait_gone(pid, timeout):
    """Wait for the end of a process that is not our child."""
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], timeout)[0], f"{pid} still runs"
    finally:
        os.close(descriptor)
