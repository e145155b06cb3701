"""One run of the benchmarks: its contestants take turns, round by round."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from benchmarks.harness.case import LIBRARIES, Case, Fixed, Native, Plain
from benchmarks.harness.contestants import (
    NOTHING,
    BenchmarkError,
    Contestant,
    GroupContestant,
    NativeContestant,
    Server,
    compile_floor,
)
from benchmarks.harness.rank import PLAIN
from benchmarks.harness.report import Row, goal_text
from benchmarks.harness.stats import Summary, judge

FLOOR = "floor"
OURS = "pyaccel"


@dataclass(frozen=True)
class Outcome:
    """What a case gave: by contestant, figures or the text of a failure."""

    names: Sequence[str]
    summaries: dict[str, Summary]
    failures: dict[str, str]


@dataclass(frozen=True)
class Effort:
    """How long a run measures. A round of a contestant takes about `round_s`, but has
    at least `fewest` and at most `most` samples."""

    rounds: int
    round_s: float
    fewest: int
    most: int = 20_000
    fresh_groups: int = 3
    processes: int = 10


FULL = Effort(rounds=15, round_s=0.08, fewest=3)
QUICK = Effort(rounds=1, round_s=0.01, fewest=1, fresh_groups=1, processes=1)


class Session:
    """Servers of the libraries, floors, and the rows measured so far."""

    def __init__(self, quick: bool = False) -> None:
        self.effort = QUICK if quick else FULL
        self.judged = not quick
        self.rows: list[Row] = []
        # What a benchmark adds to the report's facts of the machine.
        self.facts: dict[str, object] = {}
        self.servers: dict[str, Server] = {}
        self.resources = ExitStack()
        self.program = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for library in list(self.servers):
            self.drop_server(library)
        self.resources.close()

    def server(
        self,
        library: str,
        variables: Mapping[str, str] = NOTHING,
        name: str | None = None,
    ) -> Server:
        """The server of a contestant, who bears the library's name unless another is
        given, with these environment variables; started at first use. One that was
        started with others is ended before."""
        name = name or library
        if name in self.servers and self.servers[name].variables != variables:
            self.drop_server(name)
        if name not in self.servers:
            self.servers[name] = Server(library, variables)
        return self.servers[name]

    def drop_server(self, name: str) -> None:
        """End a server and its ranks; the next use starts a new one."""
        if name in self.servers:
            self.servers.pop(name).close()

    def compare(
        self,
        module: str,
        cases: Sequence[Case],
        variables: Mapping[str, str] = NOTHING,
    ) -> None:
        """Time each case's call: both libraries and the floor in turn. `variables` are
        added to the environment of the libraries' ranks."""
        for case in cases:
            makers: dict[str, Callable[[], Contestant]] = {
                library: partial(self.group, library, module, case, variables)
                for library in LIBRARIES
            }
            if case.floor is not None:
                makers[FLOOR] = partial(self.floor, module, case)
            self.contest(module, case, makers)

    def group(
        self, library: str, module: str, case: Case, variables: Mapping[str, str]
    ) -> Contestant:
        """The contestant that runs a case in a library's group."""
        return GroupContestant(self.server(library, variables), module, case)

    def floor(self, module: str, case: Case) -> Contestant:
        """The contestant that measures a floor."""
        if isinstance(case.floor, Plain):
            return GroupContestant(self.server(PLAIN), module, case)
        if not isinstance(case.floor, Native):
            raise TypeError(f"{case.name}: this kind of floor is not timed here")
        if self.program is None:
            folder = self.resources.enter_context(tempfile.TemporaryDirectory())
            self.program = compile_floor(folder)
        return NativeContestant(self.program, case.floor)

    def contest(
        self,
        module: str,
        case: Case,
        makers: dict[str, Callable[[], Contestant]],
        single: bool = False,
    ) -> None:
        """Check, warm up, then alternate rounds; one who fails leaves the contest.
        A round has a single sample where each costs as much as a process' start."""
        contestants: dict[str, Contestant] = {}
        failures: dict[str, str] = {}
        counts: dict[str, int] = {}
        samples: dict[str, list[float]] = {name: [] for name in makers}

        def attempt(name: str, step: Callable[[], None]) -> None:
            try:
                step()
            except BenchmarkError as error:
                failures[name] = str(error)
                contestants.pop(name, None)
                self.drop_server(PLAIN if name == FLOOR else name)

        def begin(name: str) -> None:
            contestants[name] = makers[name]()
            contestants[name].check()
            counts[name] = 1
            if not single:
                counts[name] = self.calibrate(contestants[name], case.batch)

        def play(name: str) -> None:
            count = counts[name]
            samples[name] += contestants[name].run(max(1, count // 10), count)

        for name in makers:
            attempt(name, lambda name=name: begin(name))
        for i in range(self.effort.processes if single else self.effort.rounds):
            # Forth and back, so that nobody always comes first.
            for name in list(contestants)[:: -1 if i % 2 else 1]:
                attempt(name, lambda name=name: play(name))
        summaries = {name: Summary.of(samples[name]) for name in contestants}
        self.report(module, case, "ns", Outcome(list(makers), summaries, failures))

    def calibrate(self, contestant: Contestant, batch: int) -> int:
        """How many samples fill a round; measuring it also warms up."""
        budget = self.effort.round_s * 1e9
        count = 1
        while True:
            times = contestant.run(1, count)
            # The last of them are warm; the first may hold a group's set-up.
            sample = sorted(times)[len(times) // 2] * batch
            if sample * count >= budget / 4 or count >= self.effort.most:
                break
            count *= 4
        fitting = int(budget / max(sample, 1.0))
        return max(self.effort.fewest, min(self.effort.most, fitting))

    def grow(self, module: str, cases: Sequence[Case]) -> None:
        """Measure how far one call raises the peak of a process' memory; each figure
        comes from a group that has just been made."""
        for case in cases:
            failures: dict[str, str] = {}
            samples: dict[str, list[float]] = {name: [] for name in LIBRARIES}
            for _ in range(self.effort.fresh_groups):
                for name in LIBRARIES:
                    if name in failures:
                        continue
                    try:
                        server = self.server(name)
                        server.open(case.ranks, fresh=True)
                        server.order("all", "prepare", module, case.name, case.ranks)
                        by_rank = server.order("all", "grow")
                        samples[name] += [value for rank in by_rank for value in rank]
                    except BenchmarkError as error:
                        failures[name] = str(error)
                        self.drop_server(name)
            summaries = {
                name: Summary.of(found)
                for name, found in samples.items()
                if found and name not in failures
            }
            if isinstance(case.floor, Fixed):
                known = case.floor.value
                summaries[FLOOR] = Summary(1, known, known, known)
            names = [*LIBRARIES, FLOOR]
            self.report(module, case, "bytes", Outcome(names, summaries, failures))

    def report(self, module: str, case: Case, unit: str, outcome: Outcome) -> None:
        """Add the rows of a case."""
        bench = module.rpartition(".")[2]
        accelerate = outcome.summaries.get("accelerate")
        floor = outcome.summaries.get(FLOOR)
        for name in outcome.names:
            row = Row(bench, case.name, case.ranks, name, unit)
            row.error = outcome.failures.get(name, "")
            if name == FLOOR and case.floor is not None:
                row.library = f"floor: {case.floor.label}"
            summary = outcome.summaries.get(name)
            if summary is not None:
                row.samples, row.p10 = summary.count, summary.p10
                row.median, row.p99 = summary.median, summary.p99
                if accelerate is not None and name != FLOOR:
                    row.to_accelerate = accelerate.median / summary.median
                if floor is not None and name != FLOOR:
                    row.to_floor = summary.median / floor.median
            if name == OURS:
                row.goal = goal_text(case.goal, unit)
                if summary is not None and self.judged:
                    verdict = judge(case.goal, summary, accelerate, floor)
                    row.reached, row.verdict = verdict.reached, str(verdict)
            self.rows.append(row)
        print(f"{bench}: {case.name}: done", file=sys.stderr)
