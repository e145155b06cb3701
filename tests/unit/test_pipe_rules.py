"""Shapes foretold: only what all samples agree on, and never by chance alone."""

import random

import pytest

from pyaccel._pipe.rules import Memory, Rule


def taught(samples, windows=()):
    """A rule after some samples: pairs of numbers of a call and of its answer."""
    (numbers, answer), *others = samples
    rule = Rule(numbers, windows, answer, "template")
    for numbers, answer in others:
        rule.learn(numbers, answer)
    return rule


def test_one_sample_foretells_nothing():
    assert taught([([3, 4], [3])]).foretell([3, 4]) is None


def test_a_length_that_is_carried_over():
    rule = taught([([3, 4], [3, 32]), ([5, 7], [5, 32])])
    assert rule.foretell([9, 1]) == [9, 32]


def test_a_length_that_grows_by_another():
    rule = taught([([1, 12], [13]), ([1, 13], [14])])
    # One more, or the sum of the two: both say this.
    assert rule.foretell([1, 14]) == [15]
    # Here they do not: the owner is asked.
    assert rule.foretell([4, 14]) in (None, [18])


def test_what_two_hypotheses_disagree_on_is_asked():
    # It may be either number, or a constant.
    rule = taught([([6, 6], [6]), ([6, 6], [6])])
    assert rule.foretell([6, 6]) == [6]
    assert rule.foretell([7, 6]) is None


def test_a_window_cuts_a_sum():
    rule = taught([([1, 5, 8], [6]), ([1, 7, 8], [7])], windows=[2])
    assert rule.foretell([1, 7, 8]) == [7]


def test_what_nothing_explains_is_given_up():
    rule = taught([([3], [5]), ([4], [11])])
    assert rule.foretell([3]) is None
    assert rule.candidates is None


def test_answers_of_another_length_are_given_up():
    rule = taught([([3], [3]), ([4], [4, 4])])
    assert rule.foretell([5]) is None


@pytest.mark.parametrize("seed", range(50))
def test_never_wrong_about_what_it_can_express(seed):
    """Whatever sums of numbers the truth is, it is told or asked for, never missed."""
    chosen = random.Random(seed)
    count = chosen.randint(1, 6)
    first, second = chosen.randrange(count), chosen.randrange(count)

    def truth(numbers):
        return [numbers[first], numbers[first] + numbers[second], 17]

    def sample():
        numbers = [chosen.randint(0, 9) for _ in range(count)]
        return numbers, truth(numbers)

    rule = taught([sample() for _ in range(chosen.randint(2, 5))])
    for _ in range(20):
        numbers, answer = sample()
        assert rule.foretell(numbers) in (None, answer)


def test_what_a_call_has_taught_can_be_taken_back():
    memory = Memory()
    undo = []
    memory.remember("call", "answer", undo)
    memory.note("key", [3], [], [3], "template", undo)
    undo.clear()
    memory.remember("call", "another", undo)
    memory.remember("new", "answer", undo)
    memory.note("key", [4], [], [4], "template", undo)
    while undo:
        undo.pop()()
    assert memory.exact == {"call": "answer"}
    assert memory.rules["key"].samples == 1
