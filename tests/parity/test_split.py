"""split_between_processes of both libraries, every rank of every size.

accelerate runs here in one process: its state is told which rank of how many it is,
which is all that its split looks at, but for padded tensors (those communicate, B11).
"""

import collections

import accelerate
import numpy as np
import pytest
import torch

from pyaccel import _C
from tests.parity.differences import differences

SIZES = range(1, 9)
COUNTS = range(21)


class State(_C.Splitter):
    """One rank of ours."""

    def __init__(self, rank, size):
        self.process_index = rank
        self.num_processes = size


@pytest.fixture
def their_state(monkeypatch):
    """Gives accelerate's state as a rank of several."""
    accelerate.PartialState(cpu=True)
    shared = accelerate.PartialState._shared_state

    def state(rank, size):
        monkeypatch.setitem(shared, "process_index", rank)
        monkeypatch.setitem(shared, "num_processes", size)
        return accelerate.PartialState()

    yield state
    monkeypatch.undo()
    accelerate.PartialState._reset_state()


def plain(value):
    """Any share as JSON has it: class and items, so that equal ones look equal."""
    if isinstance(value, collections.abc.Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (str, int)):
        return value
    if hasattr(value, "to_dict"):
        return {"Dataset": value.to_dict()}
    items = value.tolist() if hasattr(value, "tolist") else list(value)
    return {type(value).__name__: items}


def outcome(make_state, make_inputs, size, padded):
    """What each rank gets, or the type of the error."""
    found = []
    for rank in range(size):
        try:
            with make_state(rank, size).split_between_processes(
                make_inputs(), apply_padding=padded
            ) as part:
                found.append(plain(part))
        except (TypeError, ValueError, IndexError) as error:
            return type(error).__name__
    return found


class Derived(list):
    """A class derived from list."""


Pair = collections.namedtuple("Pair", "left right")

ALIKE = {
    "list": lambda n: list(range(n)),
    "derived list": lambda n: Derived(range(n)),
    "tuple": lambda n: tuple(range(n)),
    "tensor": torch.arange,
    "rows": lambda n: torch.arange(2 * n).reshape(n, 2),
    "dict": lambda n: {"a": list(range(n)), "b": torch.arange(n)},
}


@pytest.mark.parametrize("name", ALIKE)
def test_shares_without_padding(their_state, name):
    for size in SIZES:
        for count in COUNTS:
            arguments = (lambda: ALIKE[name](count), size, False)  # noqa: B023
            ours = outcome(State, *arguments)
            assert ours == outcome(their_state, *arguments), (size, count)


def test_padded_lists_where_at_most_one_rank_is_short(their_state):
    """Elsewhere accelerate's copies stand between the items (B1)."""
    for size in SIZES:
        for count in COUNTS:
            if count == 0 or (count > size and count % size not in (0, size - 1)):
                continue
            arguments = (lambda: list(range(count)), size, True)  # noqa: B023
            ours = outcome(State, *arguments)
            assert ours == outcome(their_state, *arguments), (size, count)


def dataset():
    """Five rows, as the library for data has them."""
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"a": [0, 1, 2, 3, 4]})


# Case -> inputs, ranks, padded. What differs on purpose is a row of differences.json.
CASES = {
    "named tuple": (lambda: Pair(1, 2), 2, False),
    "dataset": (dataset, 3, False),
    "padded dataset": (dataset, 3, True),
    "padded dict": (lambda: {"a": [1, 2, 3], "b": [4, 5, 6]}, 2, True),
    "dict of different lengths": (lambda: {"a": [1, 2], "b": [1]}, 2, False),
    "None": (lambda: None, 2, False),
    "number": (lambda: 3, 2, False),
    "generator": (lambda: (i for i in range(3)), 2, False),
    "tensor without dimensions": (lambda: torch.tensor(3), 2, False),
    "empty list": (lambda: [], 3, False),
    "5 items padded for 4": (lambda: [0, 1, 2, 3, 4], 4, True),
    "9 items padded for 4": (lambda: list(range(9)), 4, True),
    "9 items padded for 8": (lambda: list(range(9)), 8, True),
    "padded dataset of 5 for 4": (dataset, 4, True),
    "nested dict": (lambda: {"a": {"x": [1, 2, 3, 4]}}, 2, False),
    "array": (lambda: np.arange(4), 2, False),
    "array in a dict": (lambda: {"a": np.arange(4)}, 2, False),
    "range": (lambda: range(4), 2, False),
    "mapping": (lambda: collections.UserDict(a=[1, 2]), 2, False),
    "set": (lambda: {1, 2}, 2, False),
    "text in a dict": (lambda: {"a": [1, 2], "b": "oil"}, 2, False),
    "padded tuple": (lambda: (1, 2, 3), 2, True),
    "padded empty list": (lambda: [], 2, True),
    "empty dict": (dict, 2, False),
    "dict of different lengths alone": (lambda: {"a": [1, 2], "b": [1]}, 1, False),
    "set alone": (lambda: {1, 2}, 1, False),
    "number alone": (lambda: 3, 1, False),
}


@pytest.mark.filterwarnings("ignore:split_between_processes:UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_case(their_state, case):
    ours = outcome(State, *CASES[case])
    theirs = outcome(their_state, *CASES[case])
    row = differences("split", case).get("shares")
    if row is None:
        assert ours == theirs
    else:
        assert (theirs, ours) == (row["accelerate"], row["pyaccel"])
        assert theirs != ours


def test_entering_twice_and_the_callers_dict(their_state):
    rows = differences("split", "dict entered twice")
    found = {}
    for library, make_state in (("accelerate", their_state), ("pyaccel", State)):
        inputs = {"a": [1, 2, 3, 4]}
        state = make_state(1, 2)
        for _ in range(2):
            with state.split_between_processes(inputs) as part:
                found[library] = {"share": plain(part), "inputs": plain(inputs)}
    for what, row in rows.items():
        assert found["accelerate"][what] == row["accelerate"]
        assert found["pyaccel"][what] == row["pyaccel"]
    assert set(rows) == {"share", "inputs"}


def test_exceptions_pass_both(their_state):
    for make_state in (their_state, State):
        with pytest.raises(KeyError), make_state(0, 2).split_between_processes([1]):
            raise KeyError
