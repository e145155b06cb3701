"""`recursively_apply` and `send_to_device` over every kind of container."""

import copy
import functools
import sys
import time
from collections import (
    ChainMap,
    Counter,
    OrderedDict,
    UserDict,
    UserList,
    defaultdict,
    namedtuple,
)
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest
import torch
from transformers import BatchEncoding
from transformers.modeling_outputs import BaseModelOutput

from pyaccel.utils import (
    find_batch_size,
    listify,
    recursively_apply,
    send_to_device,
)

Pair = namedtuple("Pair", "left right")


class Point(NamedTuple):
    x: object
    y: object = 0


class Triple(Pair):
    """A namedtuple's subclass with something of its own."""

    kept = True


class Items(list):
    pass


class Strict(list):
    """A list that cannot be made of a plain one."""

    def __init__(self, items, owner):
        super().__init__(items)
        self.owner = owner


class Row(tuple):
    __slots__ = ()


class Table(dict):
    pass


class Frozen(Mapping):
    """A mapping that is no dict."""

    def __init__(self, items):
        self.items_of = dict(items)

    def __getitem__(self, key):
        return self.items_of[key]

    def __iter__(self):
        return iter(self.items_of)

    def __len__(self):
        return len(self.items_of)

    def __eq__(self, other):
        return type(other) is Frozen and self.items_of == other.items_of

    __hash__ = None


CONTAINERS = {
    "list": lambda leaf: [leaf(), leaf()],
    "empty list": lambda leaf: [],
    "tuple": lambda leaf: (leaf(), leaf()),
    "empty tuple": lambda leaf: (),
    "dict": lambda leaf: {"a": leaf(), 3: leaf(), None: leaf()},
    "empty dict": lambda leaf: {},
    "namedtuple": lambda leaf: Pair(leaf(), leaf()),
    "NamedTuple": lambda leaf: Point(leaf()),
    "a subclass of a namedtuple": lambda leaf: Triple(leaf(), [leaf()]),
    "OrderedDict": lambda leaf: OrderedDict(b=leaf(), a=leaf()),
    "UserDict": lambda leaf: UserDict(a=leaf()),
    "a subclass of list": lambda leaf: Items([leaf()]),
    "a subclass of tuple": lambda leaf: Row([leaf(), leaf()]),
    "a subclass of dict": lambda leaf: Table(a=leaf()),
    "a mapping": lambda leaf: Frozen({"a": leaf(), "b": [leaf()]}),
    "ModelOutput": lambda leaf: BaseModelOutput(last_hidden_state=leaf()),
    "BatchEncoding": lambda leaf: BatchEncoding({"input_ids": leaf()}),
    "nested": lambda leaf: [{"a": (leaf(), Pair([leaf()], {"b": leaf()}))}, leaf()],
    "empty ones in another": lambda leaf: {"a": [], "b": ({},), "c": leaf()},
}


def double(number):
    return number * 2


def is_int(value):
    return type(value) is int


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_are_built_again(name):
    tree, expected = CONTAINERS[name](lambda: 3), CONTAINERS[name](lambda: 6)
    before = copy.deepcopy(tree)
    built = recursively_apply(double, tree, test_type=is_int)
    assert built == expected
    assert type(built) is type(expected)
    assert tree == before
    if not isinstance(tree, tuple) or type(tree) is not tuple:
        assert built is not tree


def test_a_defaultdict_keeps_its_factory():
    built = recursively_apply(double, defaultdict(list, a=1), test_type=is_int)
    assert built == {"a": 2}
    assert type(built) is defaultdict
    assert built["new"] == []


def test_a_container_that_needs_more_than_its_items_is_copied():
    given = Strict([1, 2], "me")
    built = recursively_apply(double, given, test_type=is_int)
    assert built == [2, 4]
    assert type(built) is Strict
    assert built.owner == "me"
    assert given == [1, 2]


def test_a_counter_and_a_chain_of_maps():
    assert recursively_apply(double, Counter(a=3), test_type=is_int) == Counter(a=6)
    chained = ChainMap({"a": 1}, {"a": 5, "b": 2})
    built = recursively_apply(double, chained, test_type=is_int)
    assert dict(built) == {"a": 2, "b": 4}
    assert type(built) is ChainMap


def test_a_read_only_mapping():
    built = recursively_apply(double, MappingProxyType({"a": 1}), test_type=is_int)
    assert built == {"a": 2}
    assert type(built) is MappingProxyType


def test_results_of_torch_that_are_tuples_with_names():
    sorted_pair = torch.tensor([3.0, 1.0]).sort()
    built = recursively_apply(double, sorted_pair)
    assert type(built) is type(sorted_pair)
    assert built.values.tolist() == [2.0, 6.0]
    assert built.indices.tolist() == [2, 0]
    moment = time.gmtime(0)
    assert recursively_apply(double, moment, test_type=is_int).tm_year == 2 * 1970


def test_what_is_no_container_is_a_leaf():
    for leaf in [{1, 2}, UserList([1]), range(3), "text", b"x", object, None, 1j]:
        seen = []
        recursively_apply(seen.append, [leaf], test_type=lambda one: True)
        assert seen == [leaf]


def test_arguments_are_handed_on():
    def add(one, two, three=0):
        return one + two + three

    tree = {"a": torch.ones(1), "b": "x"}
    built = recursively_apply(add, tree, 2, three=3)
    assert built["a"].item() == 6
    assert built["b"] == "x"


def test_order_is_that_of_the_structure():
    seen = []
    tree = {"b": [1, (2, 3)], "a": Pair(4, {"x": 5})}
    recursively_apply(seen.append, tree, test_type=is_int)
    assert seen == [1, 2, 3, 4, 5]


def test_tensors_of_every_class_are_leaves():
    class Tagged(torch.Tensor):
        pass

    tree = [torch.nn.Parameter(torch.ones(1)), torch.ones(1).as_subclass(Tagged)]
    assert recursively_apply(lambda one: 1, tree) == [1, 1]


def test_other_types_stay_or_are_refused():
    tree = {"a": torch.ones(1), "b": "text"}
    assert recursively_apply(len, tree) == {"a": 1, "b": "text"}
    with pytest.raises(TypeError) as caught:
        recursively_apply(double, tree, error_on_other_type=True)
    assert str(caught.value) == (
        "Unsupported types (<class 'str'>) passed to `double`. Only nested "
        "list/tuple/dicts of objects that are valid for `is_torch_tensor` should be "
        "passed."
    )
    with pytest.raises(TypeError, match="valid for `is_int` should be passed"):
        recursively_apply(double, tree, test_type=is_int, error_on_other_type=True)
    with pytest.raises(TypeError, match="passed to `functools.partial"):
        recursively_apply(functools.partial(double), "x", error_on_other_type=True)


class Broken(Exception):
    pass


def break_down(*_):
    raise Broken


@pytest.mark.parametrize("name", ["list", "tuple", "dict", "a mapping", "nested"])
def test_errors_of_the_function_and_the_test_come_through(name):
    tree = CONTAINERS[name](lambda: 1)
    with pytest.raises(Broken):
        recursively_apply(break_down, tree, test_type=is_int)
    with pytest.raises(Broken):
        recursively_apply(double, tree, test_type=break_down)

    class NoBool:
        def __bool__(self):
            raise Broken

    with pytest.raises(Broken):
        recursively_apply(double, tree, test_type=lambda one: NoBool())


def test_a_mapping_that_breaks():
    class Half(Frozen):
        def items(self):
            raise Broken

    with pytest.raises(Broken):
        recursively_apply(double, Half({"a": 1}), test_type=is_int)

    class Odd(Frozen):
        def items(self):
            return [("a",)]

    with pytest.raises(IndexError):
        recursively_apply(double, Odd({"a": 1}), test_type=is_int)


def test_a_function_that_changes_the_structure():
    numbers = [1, 2, 3]

    def shorten(one):
        numbers.clear()
        return one

    with pytest.raises(IndexError):
        recursively_apply(shorten, numbers, test_type=is_int)
    table = {"a": 1, "b": 2}

    def grow(one):
        table[f"new {len(table)}"] = one
        return one * 2

    assert recursively_apply(grow, table, test_type=is_int) == {"a": 2, "b": 4}
    table = {"a": 1, "b": 2}

    def empty(one):
        table.clear()
        return one * 2

    assert recursively_apply(empty, table, test_type=is_int) == {"a": 2, "b": 4}


def test_depth():
    tree = 1
    for _ in range(200):
        tree = {"a": [(tree,)]}
    built = recursively_apply(double, tree, test_type=is_int)
    for _ in range(200):
        built = built["a"][0][0]
    assert built == 2


def test_a_structure_that_holds_itself():
    endless = []
    endless.append(endless)
    table = {}
    table["a"] = table
    for tree in (endless, table, [UserDict(a=endless)]):
        for call in (
            lambda tree: recursively_apply(double, tree),
            lambda tree: send_to_device(tree, "cpu"),
            listify,
        ):
            with pytest.raises(RecursionError):
                call(tree)


def test_no_reference_is_lost_or_kept():
    leaf = torch.ones(2)
    tree = {"a": [leaf, Pair(leaf, UserDict(b=leaf))]}
    before = sys.getrefcount(leaf)
    for _ in range(10):
        built = recursively_apply(lambda one: one, tree)
        send_to_device(tree, "cpu")
        find_batch_size(tree)
    del built
    assert sys.getrefcount(leaf) == before


# ---- send_to_device ----


class Movable:
    """An object that knows devices, and not how to go there without waiting."""

    def __init__(self, at="here"):
        self.at = at

    def to(self, device):
        return Movable(device)


class Waiting(Movable):
    def to(self, device, non_blocking=None):
        return Movable((device, non_blocking))


def test_what_is_there_stays_the_same():
    leaf, other = torch.ones(2), object()
    for device in ("cpu", torch.device("cpu")):
        sent = send_to_device({"a": [leaf], "b": other, "c": "x"}, device)
        assert sent["a"][0] is leaf
        assert sent["b"] is other
        assert sent["c"] == "x"


@pytest.mark.parametrize("name", CONTAINERS)
def test_structures_are_sent(name):
    made = CONTAINERS[name](lambda: torch.ones(2))
    sent = send_to_device(made, "meta")
    assert type(sent) is type(made)
    seen = []
    recursively_apply(lambda one: seen.append(one.device.type), sent)
    count = []
    recursively_apply(count.append, made)
    assert seen == ["meta"] * len(count)


def test_objects_that_can_be_sent():
    sent = send_to_device([Movable(), Waiting(), {"a": Movable()}], "there")
    assert sent[0].at == "there"
    assert sent[1].at == ("there", False)
    assert sent[2]["a"].at == "there"
    assert send_to_device(Waiting(), 3, non_blocking=True).at == (3, True)
    model = torch.nn.Linear(2, 2)
    assert send_to_device(model, "meta") is model
    assert model.weight.device.type == "meta"


def test_an_error_of_to_comes_through():
    class Stuck:
        def to(self, device):
            raise TypeError(f"never to {device}")

    class Closed:
        @property
        def to(self):
            raise Broken

    with pytest.raises(TypeError, match="never to cpu"):
        send_to_device([Stuck()], "cpu")
    with pytest.raises(Broken):
        send_to_device([Closed()], "cpu")
    with pytest.raises(RuntimeError, match="nowhere"):
        send_to_device(torch.ones(1), "nowhere")


@pytest.mark.parametrize("skip", ["b", ["b"], ["b", "z"], ("b",), {"b"}])
def test_keys_that_are_skipped(skip):
    tree = {"a": torch.ones(1), "b": torch.ones(1), "c": [{"b": torch.ones(1)}]}
    for made in (tree, UserDict(tree), Table(tree)):
        sent = send_to_device(made, "meta", skip_keys=skip)
        assert type(sent) is type(made)
        assert sent["a"].device.type == "meta"
        assert sent["b"] is made["b"]
        assert sent["c"][0]["b"] is made["c"][0]["b"]


def test_nothing_is_skipped():
    for skip in (None, [], ()):
        sent = send_to_device({"a": torch.ones(1)}, "meta", skip_keys=skip)
        assert sent["a"].device.type == "meta"


def test_batches_of_tokens_keep_their_encodings():
    batch = BatchEncoding({"input_ids": torch.ones(2, 3)})
    sent = send_to_device(batch, "meta")
    assert type(sent) is BatchEncoding
    assert sent["input_ids"].device.type == "meta"
