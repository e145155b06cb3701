"""The benchmarks' own arithmetic, their report, and what happens to one who fails.

No test here asserts a time.
"""

import io
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.__main__ import NAMES, main
from benchmarks.harness import machine, report, stats
from benchmarks.harness.case import Case, Goal, Native, Own
from benchmarks.harness.contestants import (
    BenchmarkError,
    NativeContestant,
    Server,
    compile_floor,
)
from benchmarks.harness.rank import PLAIN
from benchmarks.harness.session import FLOOR, Session
from benchmarks.split import CASES as SPLIT_CASES

ROOT = Path(__file__).resolve().parents[2]
MODULE = "benchmarks.example"


def summary(median, p10=None, p99=None):
    return stats.Summary(1, p10 or median, median, p99 or median)


class Scripted:
    """A contestant with known samples that may fail in a later round."""

    def __init__(self, sample, rounds_before_failure=None):
        self.sample = sample
        self.left = rounds_before_failure
        self.rounds = 0

    def check(self):
        pass

    def run(self, warm_up, samples):
        self.rounds += 1
        if self.left is not None and self.rounds > self.left:
            raise BenchmarkError("rank 1 ended")
        return [self.sample] * samples


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 1), (0.1, 1), (0.5, 5), (0.51, 6), (0.99, 10), (1.0, 10)]
)
def test_a_percentile_is_a_sample(q, expected):
    assert stats.percentile(range(1, 11), q) == expected


def test_a_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        stats.percentile([], 0.5)


def test_summary_sorts_its_samples():
    found = stats.Summary.of([5, 1, 4, 2, 3])
    assert (found.count, found.p10, found.median, found.p99) == (5, 1, 3, 5)


def test_a_collective_lasts_as_long_as_on_its_slowest_rank():
    assert stats.slowest([[1, 9, 3], [4, 2, 3]]) == [4, 9, 3]


def test_ranks_with_different_numbers_of_calls_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        stats.slowest([[1, 2], [1]])


@pytest.mark.parametrize(
    ("goal", "reached", "words"),
    [
        (Goal(), None, ""),
        (Goal(times=10), True, "reached"),
        (Goal(times=11), False, "missed: 10x of 11x"),
        (Goal(factor=2), True, "reached"),
        (Goal(factor=1, plus=4), False, "missed: 1.11 times the limit"),
        (Goal(factor=1, plus=4, statistic="p10"), True, "reached"),
        (Goal(plus=10), True, "reached"),
        (Goal(times=20, plus=5), False, "missed: 10x of 20x, 2 times the limit"),
    ],
)
def test_verdicts(goal, reached, words):
    ours = summary(10.0, p10=8.0)
    verdict = stats.judge(goal, ours, summary(100.0), summary(5.0, p10=4.0))
    assert (verdict.reached, str(verdict)) == (reached, words)


@pytest.mark.parametrize("goal", [Goal(times=2), Goal(factor=2)])
def test_no_verdict_without_that_with_which_to_compare(goal):
    verdict = stats.judge(goal, summary(10.0), None, None)
    assert verdict.reached is None
    assert "not judged" in str(verdict)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (87.25, "ns", "87.2 ns"),
        (1500.0, "ns", "1.5 µs"),
        (999_700.0, "ns", "1000 µs"),
        (2.5e9, "ns", "2.5 s"),
        (0.25, "ns", "0.25 ns"),
        (3 << 20, "bytes", "3.0 MiB"),
        (None, "ns", ""),
    ],
)
def test_amounts_have_the_unit_of_their_size(value, unit, text):
    assert report.amount_text(value, unit) == text


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (Goal(times=150, factor=3, plus=150), "150x; 3 floor + 150 ns"),
        (Goal(times=1 / 0.6), "1.67x"),
        (Goal(factor=1.6), "1.6 floor"),
        (Goal(factor=1, plus=300), "floor + 300 ns"),
        (Goal(plus=150e3, statistic="p10"), "150 µs by p10"),
        (Goal(), ""),
    ],
)
def test_goals_in_words(goal, text):
    assert report.goal_text(goal, "ns") == text


def test_the_table_is_aligned():
    rows = [
        report.Row("gather", "8 B", 2, "pyaccel", p10=1e3, median=2e3, p99=3e6),
        report.Row("gather", "64 MiB", 2, "accelerate", error="rank 0 ended"),
    ]
    out = io.StringIO()
    report.show(rows, out)
    head, rule, first, second = out.getvalue().splitlines()
    assert rule.split() == ["-" * len(part) for part in rule.split()]
    assert first.index("1 µs") + len("1 µs") == head.index("p10") + len("p10")
    assert second.endswith("failed: see below")


def test_errors_are_shown_whole():
    out = io.StringIO()
    report.show_errors([report.Row("gather", "8 B", 2, "x", error="rank 0 ended")], out)
    assert "gather, 8 B, 2 ranks, x: rank 0 ended" in out.getvalue()


def test_json_has_machine_and_rows():
    row = report.Row("gather", "8 B", 2, "pyaccel", median=2.0)
    found = json.loads(report.to_json({"cpu": "x"}, [row]))
    assert found["machine"] == {"cpu": "x"}
    assert found["rows"][0]["median"] == 2.0


def test_lists_of_cpus():
    assert machine.parse_cpus("0-2,8\n") == {0, 1, 2, 8}


def contest(quick, **contestants):
    case = Case("a case", floor=Own("the least"), goal=Goal(times=4, factor=3))
    with Session(quick=quick) as session:
        makers = {name: lambda it=it: it for name, it in contestants.items()}
        session.contest(MODULE, case, makers)
    return {row.library: row for row in session.rows}


def test_a_contest_has_a_row_for_each_contestant():
    rows = contest(
        False, accelerate=Scripted(2e7), pyaccel=Scripted(4e6), floor=Scripted(1e6)
    )
    ours = rows["pyaccel"]
    assert (ours.to_accelerate, ours.to_floor) == (5, 4)
    assert ours.reached is False
    assert ours.verdict == "missed: 1.33 times the limit"
    assert rows["accelerate"].to_accelerate == 1
    assert rows[f"{FLOOR}: the least"].to_accelerate is None


def test_a_quick_run_judges_nothing():
    rows = contest(True, accelerate=Scripted(9e6), pyaccel=Scripted(9e6))
    assert rows["pyaccel"].reached is None
    assert rows["pyaccel"].verdict == ""


def test_who_fails_leaves_the_contest_and_the_others_go_on():
    rows = contest(
        False, accelerate=Scripted(2e7, rounds_before_failure=4), pyaccel=Scripted(4e6)
    )
    assert rows["accelerate"].error == "rank 1 ended"
    assert rows["accelerate"].median is None
    assert rows["pyaccel"].median == 4e6
    assert rows["pyaccel"].reached is None


@pytest.fixture
def plain_server():
    server = Server(PLAIN)
    yield server
    server.close()
    assert not psutil.pid_exists(server.process.pid)


def test_a_server_runs_a_case_in_its_rank(plain_server):
    case = SPLIT_CASES[0]
    plain_server.open(1)
    plain_server.order("all", "prepare", "benchmarks.split", case.name, case.ranks)
    ((one, two),) = plain_server.order("all", "run", 1, 2)
    assert one > 0 < two


def test_a_dead_rank_is_named(plain_server):
    plain_server.open(2)
    ranks = psutil.Process(plain_server.process.pid).children()
    max(ranks, key=lambda rank: rank.pid).kill()
    with pytest.raises(BenchmarkError, match="plain: rank [01] ended"):
        plain_server.order("all", "check")


def test_an_exception_in_a_rank_is_passed_on(plain_server):
    plain_server.open(1)
    with pytest.raises(BenchmarkError, match="rank 0: Traceback"):
        plain_server.order("all", "prepare", "benchmarks.barrier", "none such", 2)


def test_a_server_that_cannot_import_says_why():
    server = Server("benchmarks.none_such")
    try:
        with pytest.raises(BenchmarkError, match="No module named"):
            server.open(1)
    finally:
        server.close()


def test_the_ranks_end_with_their_server(plain_server):
    plain_server.open(2)
    ranks = psutil.Process(plain_server.process.pid).children()
    plain_server.close()
    gone, alive = psutil.wait_procs(ranks, timeout=30)
    assert (len(gone), alive) == (2, [])


@pytest.mark.parametrize(
    ("program", "ranks", "amount"),
    [("barrier", 2, 5), ("barrier", 4, 5), ("pingpong", 2, 5), ("memcpy", 2, 4096)],
)
def test_floors_give_the_samples_asked_for(tmp_path, program, ranks, amount):
    floor = Native("a floor", program, ranks, amount, times=2)
    contestant = NativeContestant(compile_floor(tmp_path), floor)
    samples = contestant.run(1, 7)
    assert len(samples) == 7
    assert min(samples) >= 0


def test_a_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "none-such-compiler")
    with pytest.raises(BenchmarkError, match="none-such-compiler"):
        compile_floor(tmp_path)


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["gathr"])
    message = capsys.readouterr().err
    assert "there is no benchmark 'gathr'" in message
    assert all(name in message for name in NAMES)


def test_each_benchmark_opens_with_its_question():
    for name in NAMES:
        text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        first = text.splitlines()[0]
        assert first.startswith('"""')
        assert first.endswith('?"""')


def test_a_quick_run_reports_rows_without_errors(tmp_path):
    file = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "barrier", "--quick", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "wait_for_everyone" in done.stdout
    found = json.loads(file.read_text(encoding="utf-8"))
    assert {row["library"] for row in found["rows"]} >= {"accelerate", "pyaccel"}
    assert not [row["error"] for row in found["rows"] if row["error"]]
