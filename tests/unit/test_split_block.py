"""split_between_processes: what it refuses, its block, and who owns what."""

import collections
import gc
import inspect
import sys
import warnings
import weakref

import numpy as np
import pytest
import torch

from pyaccel import _C, Accelerator, PartialState
from pyaccel.state import AcceleratorState


class State(_C.Splitter):
    """What the states and Accelerator are to their base class."""

    def __init__(self, rank, size):
        self.process_index = rank
        self.num_processes = size


def shares(inputs, size, apply_padding=False):
    """What every rank gets, in rank order."""
    return [_C.split(inputs, rank, size, apply_padding) for rank in range(size)]


# ---- Text, and what cannot be split ----


@pytest.mark.parametrize("text", ["abc", b"abc", bytearray(b"abc")], ids=repr)
def test_text_is_one_item_for_every_rank(text):
    for rank in range(3):
        with pytest.warns(
            UserWarning, match=f"inputs is of type {type(text).__name__}"
        ):
            assert _C.split(text, rank, 3) is text
    assert shares(text, 1) == [text]


def test_text_in_a_dict_is_warned_of_once():
    inputs = {"prompt": ["a", "b"], "style": "oil", "more": {"negative": "none"}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        part = _C.split(inputs, 1, 2)
    assert part == {"prompt": ["b"], "style": "oil", "more": {"negative": "none"}}
    (warning,) = caught
    assert "inputs['style'] is of type str" in str(warning.message)
    assert warning.filename == __file__


def test_warning_points_at_the_with_statement():
    block = State(0, 2).split_between_processes("abc")
    with pytest.warns(UserWarning, match="one item") as caught, block:
        pass
    assert caught[0].filename == __file__


class NoLength:
    """Has brackets but no length, as datasets that are streamed."""

    def __getitem__(self, key):
        raise NotImplementedError


REFUSED = {
    "int": (3, "put it into a list"),
    "NoneType": (None, "put it into a list"),
    "set": ({1, 2}, r"sorted\(inputs\)"),
    "frozenset": (frozenset({1, 2}), r"sorted\(inputs\)"),
    "generator": ((i for i in range(3)), r"list\(inputs\)"),
    "dict_keys": ({1: 2}.keys(), r"list\(inputs\)"),
    "map": (map(str, []), r"list\(inputs\)"),
    "NoLength": (NoLength(), "pass a list"),
    "Tensor": (torch.tensor(1.0), "pass a list"),
}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, size):
    value, remedy = REFUSED[name]
    with pytest.raises(TypeError, match=f"of type {name}: .*{remedy}"):
        shares(value, size)
    with pytest.raises(TypeError, match=rf"split inputs\['a'\]\['b'\] of type {name}:"):
        shares({"a": {"b": value}}, size)


def test_cause_of_a_refusal_is_kept():
    with pytest.raises(TypeError) as caught:
        shares(NoLength(), 2)
    assert "len()" in str(caught.value.__cause__)


def test_slices_that_are_no_slices_are_refused():
    class Rows:
        def __len__(self):
            return 4

        def __getitem__(self, key):
            return Rows() if isinstance(key, slice) else key

    with pytest.raises(TypeError, match="of type Rows"):
        shares(Rows(), 2)


def test_errors_of_containers_come_through():
    class Broken:
        def __len__(self):
            return 4

        def __getitem__(self, key):
            raise OSError("the disk is gone")

    for padded in (False, True):
        with pytest.raises(OSError, match="the disk is gone"):
            shares(Broken(), 2, padded)


def test_length_that_changes_the_dict_is_harmless():
    inputs = {}

    class Spiteful(list):
        def __len__(self):
            inputs.clear()
            return 2

    inputs.update(a=Spiteful([1, 2]), b=[1, 2])
    assert _C.split(inputs, 0, 2) == {}


# ---- The method and its block ----


def test_block_yields_the_share_and_lets_exceptions_pass():
    class Stop(Exception):
        pass

    with pytest.raises(Stop), State(1, 2).split_between_processes([1, 2, 3]) as part:
        assert part == [3]
        raise Stop


def test_block_may_be_entered_again_and_nested():
    block = State(0, 2).split_between_processes({"a": [1, 2, 3, 4]})
    with block as once, block as again:
        assert once == again == {"a": [1, 2]}
        with State(1, 2).split_between_processes(once) as inner:
            assert inner == {"a": [2]}


def test_world_of_one_yields_the_very_object():
    for inputs in ([1], {"a": [1]}, torch.ones(2), "text", range(3)):
        for padded in (False, True):
            with State(0, 1).split_between_processes(inputs, padded) as part:
                assert part is inputs


def test_arguments_and_signature():
    state = State(1, 2)
    for block in (
        state.split_between_processes([1, 2, 3], True),
        state.split_between_processes([1, 2, 3], apply_padding=1),
        state.split_between_processes(apply_padding=True, inputs=[1, 2, 3]),
    ):
        with block as part:
            assert part == [3, 3]
    signature = inspect.signature(state.split_between_processes)
    assert str(signature) == "(inputs, apply_padding=False)"
    for arguments, names in (((), {}), (([], True, 1), {}), (([],), {"padding": True})):
        with pytest.raises(TypeError, match=r"split_between_processes\(\)"):
            state.split_between_processes(*arguments, **names)
    with pytest.raises(TypeError, match="multiple values"):
        state.split_between_processes([], inputs=[])


def test_numbers_come_from_properties_and_getattr():
    class Delegating(_C.Splitter):
        state = State(1, 2)

        @property
        def num_processes(self):
            return self.state.num_processes

        def __getattr__(self, name):
            return getattr(self.state, name)

    with Delegating().split_between_processes([1, 2]) as part:
        assert part == [2]


def test_public_classes_have_the_method_itself():
    """No frame of Python stands between a script and the slices."""
    for owner in (PartialState, AcceleratorState, Accelerator):
        method = owner.split_between_processes
        assert method is _C.Splitter.split_between_processes


def test_missing_numbers_say_so_in_the_words_of_the_class():
    class Unready(_C.Splitter):
        def __getattr__(self, name):
            raise AttributeError(f"{name}: make a state first")

    with pytest.raises(AttributeError, match="num_processes: make a state first"):
        Unready().split_between_processes([1])
    with pytest.raises(TypeError):
        State("one", 2).split_between_processes([1])


@pytest.mark.parametrize(("rank", "size"), [(2, 2), (-1, 2), (0, 0), (1, 1), (0, -1)])
def test_ranks_out_of_range_are_refused(rank, size):
    with pytest.raises(ValueError, match=r"rank|process"):
        _C.split([1, 2], rank, size)


def test_base_class_leaves_instances_their_dict():
    class Borg(_C.Splitter):
        shared = {"num_processes": 2, "process_index": 0}  # noqa: RUF012

        def __init__(self):
            self.__dict__ = self.shared

    borg = Borg()
    with borg.split_between_processes([1, 2]) as part:
        assert part == [1]
    assert weakref.ref(borg)() is borg


# ---- Ownership ----


class Slices(collections.abc.Sequence):
    """A sequence of somebody's own."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, key):
        return self.items[key]


class Frozen(collections.abc.Mapping):
    """A mapping that is no dict, made from a dict."""

    def __init__(self, data):
        self.data = dict(data)

    def __getitem__(self, key):
        return self.data[key]

    def __iter__(self):
        return iter(self.data)

    def __len__(self):
        return len(self.data)


class Named(dict):
    """A dict that is not made from a dict."""

    def __init__(self, name, **items):
        super().__init__(**items)
        self.name = name


def references_gained(action, *objects, times=200):
    """How many references each object gains while an action is repeated."""
    action()
    before = [sys.getrefcount(value) for value in objects]
    for _ in range(times):
        action()
    after = [sys.getrefcount(value) for value in objects]
    return [new - old for old, new in zip(before, after, strict=True)]


def fails(action):
    """An action that must raise."""

    def attempt():
        try:
            action()
        except (TypeError, ValueError, OSError):
            return
        raise AssertionError("it did not raise")

    return attempt


@pytest.mark.parametrize("padded", [False, True])
def test_nothing_is_leaked(padded):
    item = object()
    containers = [
        [item] * 3,
        (item,) * 3,
        {item: [item] * 3, "b": {"c": (item,) * 3}},
        collections.OrderedDict({item: [item] * 3}),
        collections.defaultdict(list, {item: [item] * 3}),
        Frozen({item: [item] * 3}),
        Named("x", a=[item] * 3),
        collections.deque([item] * 3),
        Slices([item] * 3),
        np.array([item] * 3),
    ]
    for inputs in containers:
        kind = type(inputs)
        for size in (1, 2, 4):
            gained = references_gained(
                lambda: _C.split(inputs, size - 1, size, padded),  # noqa: B023
                item,
                inputs,
                kind,
            )
            assert gained == [0, 0, 0], (kind, size)


def test_nothing_is_leaked_by_failures():
    item = object()
    bad = object()
    failing = [
        {item: [item], "b": [1, 2]},
        {item: [item], "b": {"c": bad}},
        {item: {"c": [item], "d": {item}}},
        {item: NoLength()},
    ]
    for inputs in failing:
        for size in (1, 2):
            gained = references_gained(
                fails(lambda: _C.split(inputs, 0, size)),  # noqa: B023
                item,
                inputs,
                bad,
            )
            assert gained == [0, 0, 0]
    items = [item]
    wrong_rank = fails(lambda: _C.split(items, 7, 2))
    assert references_gained(wrong_rank, item, items) == [0, 0]


def test_block_gives_back_what_it_holds():
    inputs = [object()]
    state = State(0, 2)

    def enter():
        with state.split_between_processes(inputs) as part:
            assert part == inputs

    block_type = type(state.split_between_processes([]))
    assert references_gained(enter, inputs, state, State, block_type) == [0, 0, 0, 0]


def test_collector_sees_through_a_block():
    class Marked(list):
        pass

    inputs = Marked()
    inputs.append(State(0, 2).split_between_processes(inputs))
    gone = weakref.ref(inputs)
    del inputs
    gc.collect()
    assert gone() is None
