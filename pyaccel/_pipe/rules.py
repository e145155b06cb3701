"""Shapes foretold from shapes: the memory of a unit's earlier calls, and its rules.

A call is a structure (a hashable key) and numbers: lengths of dimensions and integers
of arguments. What the owner told of it is remembered for exactly these numbers. For new
ones each number of the answer keeps the hypotheses that no sample has refuted: it is a
constant, one of the call's numbers, a sum of two of them, or such a sum that a sliding
window cuts. An answer is foretold only after two samples, and only if all that remain
agree; else the owner is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

Undo = list[Callable[[], None]]  # what takes back what was learned, in order

CONSTANT, INPUT, SUM, WINDOW = range(4)


class Rule:
    """What is known of the answers to calls of one structure."""

    __slots__ = ("candidates", "samples", "template")

    def __init__(
        self,
        numbers: Sequence[int],
        windows: Sequence[int],
        answer: Sequence[int],
        template: object,
    ) -> None:
        self.samples = 1
        # Of the first answer; whoever foretells puts other numbers in its places.
        self.template = template
        # None: the structure does not decide about the answer.
        self.candidates: list[list[tuple[int, ...]]] | None = [
            _hypotheses(numbers, windows, value) for value in answer
        ]

    def learn(self, numbers: Sequence[int], answer: Sequence[int]) -> None:
        """Drops what another sample refutes."""
        self.samples += 1
        if self.candidates is None:
            return
        if len(answer) != len(self.candidates):
            self.candidates = None
            return
        for place, value in enumerate(answer):
            left = [h for h in self.candidates[place] if _evaluate(h, numbers) == value]
            self.candidates[place] = left
            if not left:
                self.candidates = None
                return

    def copy(self) -> Rule:
        """The same rule, to go back to."""
        made = Rule.__new__(Rule)
        made.samples = self.samples
        made.template = self.template
        made.candidates = None if self.candidates is None else list(self.candidates)
        return made

    def foretell(self, numbers: Sequence[int]) -> list[int] | None:
        """The numbers of the answer, or None where the samples leave it open."""
        if self.samples < 2 or self.candidates is None:
            return None
        answer = []
        for hypotheses in self.candidates:
            values = {_evaluate(each, numbers) for each in hypotheses}
            if len(values) != 1:
                return None
            answer.append(values.pop())
        return answer


def _hypotheses(
    numbers: Sequence[int], windows: Sequence[int], value: int
) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [(CONSTANT, value)]
    found += [(INPUT, i) for i, number in enumerate(numbers) if number == value]
    sums = {}
    for i, first in enumerate(numbers):
        for j in range(i, len(numbers)):
            sums[i, j] = first + numbers[j]
    found += [(SUM, i, j) for (i, j), total in sums.items() if total == value]
    for window in windows:
        cut = numbers[window] - 1
        found += [
            (WINDOW, i, j, window)
            for (i, j), total in sums.items()
            if min(total, cut) == value
        ]
    return found


def _evaluate(hypothesis: tuple[int, ...], numbers: Sequence[int]) -> int:
    kind, first = hypothesis[:2]
    if kind == CONSTANT:
        return first
    if kind == INPUT:
        return numbers[first]
    total = numbers[first] + numbers[hypothesis[2]]
    return total if kind == SUM else min(total, numbers[hypothesis[3]] - 1)


class Memory:
    """A unit's answers by call, and its rules by structure.

    Ranks must remember the same. A call that is ended early ends at another place on
    each of them, so what was learned in it is forgotten.
    """

    __slots__ = ("exact", "rules")

    def __init__(self) -> None:
        self.exact: dict[Hashable, object] = {}
        self.rules: dict[Hashable, Rule] = {}

    def remember(self, call: Hashable, answer: object, undo: Undo) -> None:
        """Takes the answer to exactly this call in."""
        undo.append(partial(_put, self.exact, call, self.exact.get(call)))
        self.exact[call] = answer

    def note(  # noqa: PLR0917 - one sample
        self,
        structure: Hashable,
        numbers: Sequence[int],
        windows: Sequence[int],
        answer: Sequence[int],
        template: object,
        undo: Undo,
    ) -> None:
        """Takes one sample in."""
        rule = self.rules.get(structure)
        undo.append(partial(_put, self.rules, structure, rule and rule.copy()))
        if rule is None:
            self.rules[structure] = Rule(numbers, windows, answer, template)
        else:
            rule.learn(numbers, answer)


def _put(table: dict[Hashable, Any], key: Hashable, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
