"""split_between_processes: who gets what of every kind of container."""

import collections
import math
import types

import numpy as np
import pytest
import torch

from pyaccel import _C

SIZES = range(1, 9)
COUNTS = range(21)


def shares(inputs, size, apply_padding=False):
    """What every rank gets, in rank order."""
    return [_C.split(inputs, rank, size, apply_padding) for rank in range(size)]


def wanted(count, size, padded):
    """The positions of every rank's items, by the words of the documents."""
    if padded:
        block = math.ceil(count / size)
        whole = [*range(count), *[count - 1] * (block * size - count)]
        return [whole[rank * block : (rank + 1) * block] for rank in range(size)]
    each, extra = divmod(count, size)
    ends = [rank * each + min(rank, extra) for rank in range(size + 1)]
    return [list(range(ends[rank], ends[rank + 1])) for rank in range(size)]


class Slices:
    """A sequence of somebody's own: a length and slices, no base class."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, key):
        part = self.items[key]
        return Slices(part) if isinstance(key, slice) else part

    def __iter__(self):
        return iter(self.items)


class ListOfMine(list):
    """A class derived from list."""


# How to make a container of the numbers 0 to n-1 and what class its shares have; of
# those that become lists when padded, that class.
CONTAINERS = {
    "list": (lambda n: list(range(n)), list, list),
    "derived list": (lambda n: ListOfMine(range(n)), list, list),
    "tuple": (lambda n: tuple(range(n)), tuple, tuple),
    "size": (lambda n: torch.Size(range(n)), torch.Size, torch.Size),
    "range": (range, range, list),
    "deque": (lambda n: collections.deque(range(n)), list, list),
    "own class": (lambda n: Slices(list(range(n))), Slices, list),
    "memoryview": (lambda n: memoryview(bytes(range(n))), memoryview, list),
    "tensor": (torch.arange, torch.Tensor, torch.Tensor),
    "array": (np.arange, np.ndarray, np.ndarray),
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_and_number(name, padded):
    make, plain_class, padded_class = CONTAINERS[name]
    for size in SIZES:
        for count in COUNTS:
            inputs = make(count)
            found = shares(inputs, size, padded)
            if size == 1:
                assert found[0] is inputs
                continue
            assert [list(part) for part in found] == wanted(count, size, padded)
            expected = padded_class if padded else plain_class
            assert {type(part) for part in found} == {expected}


@pytest.mark.parametrize("padded", [False, True])
def test_documented_recipe_is_right_for_every_number(padded):
    """Shares put together and cut to the length of the inputs are the inputs."""
    for size in SIZES:
        for count in COUNTS:
            inputs = [str(number) for number in range(count)]
            whole = [item for part in shares(inputs, size, padded) for item in part]
            assert whole[:count] == inputs


# ---- Datasets that map positions to items ----


class Items:
    """A dataset of two columns; a slice asks its function for a whole column each."""

    def __init__(self, count, make):
        self.x = list(range(count))
        self.y = [str(number) for number in range(count)]
        self.make = make

    def __len__(self):
        return len(self.x)

    def __getitem__(self, key):
        return self.make(self.x[key], self.y[key])


def refuse_slices(x, y):
    if isinstance(x, list):
        raise FileNotFoundError(f"no file of the name {x}")
    return x, y


# How an item is made of its two columns: of most of these, a slice has the length 2.
MAKERS = {
    "tuple": lambda x, y: (x, y),
    "list": lambda x, y: [x, y],
    "dict": lambda x, y: {"x": x, "y": y},
    "array": lambda x, y: np.array([x, y], dtype=object),
    "no slices": refuse_slices,
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_dataset_gives_items_never_columns(name, padded):
    make = MAKERS[name]
    for size in (2, 3):
        for count in range(8):
            found = shares(Items(count, make), size, padded)
            for part, positions in zip(found, wanted(count, size, padded), strict=True):
                items = [make(at, str(at)) for at in positions]
                assert repr(part) == repr(items)


@pytest.mark.parametrize("padded", [False, True])
def test_tensor_dataset_gives_items_never_columns(padded):
    inputs = torch.utils.data.TensorDataset(torch.arange(4), torch.arange(100, 104))
    found = shares(inputs, 2, padded)
    assert found == [[(0, 100), (1, 101)], [(2, 102), (3, 103)]]
    subset = torch.utils.data.Subset(inputs, [3, 1, 0, 2])
    assert shares(subset, 2, padded)[0] == [(3, 103), (1, 101)]
    last = shares(inputs, 3, padded)[2]
    assert last == ([(3, 103), (3, 103)] if padded else [(3, 103)])


def test_sequence_may_slice_into_a_list():
    class Registered(collections.abc.Sequence):
        def __len__(self):
            return 4

        def __getitem__(self, key):
            return [0, 1, 2, 3][key]

    inputs = Registered()
    assert shares(inputs, 2) == [[0, 1], [2, 3]]


# ---- Mappings ----


def test_dict_is_split_by_its_values():
    inputs = {"a": [1, 2, 3], "b": (4, 5, 6), "c": torch.arange(3)}
    first, second = shares(inputs, 2)
    assert {**first, "c": first["c"].tolist()} == {
        "a": [1, 2],
        "b": (4, 5),
        "c": [0, 1],
    }
    assert {**second, "c": second["c"].tolist()} == {"a": [3], "b": (6,), "c": [2]}


def test_nested_dict_is_split_at_its_leaves():
    inputs = {"a": {"x": [1, 2, 3, 4], "y": {"z": range(4)}}, "b": [5, 6, 7, 8]}
    assert shares(inputs, 2) == [
        {"a": {"x": [1, 2], "y": {"z": range(2)}}, "b": [5, 6]},
        {"a": {"x": [3, 4], "y": {"z": range(2, 4)}}, "b": [7, 8]},
    ]


@pytest.mark.parametrize("padded", [False, True])
def test_the_callers_dict_stays_as_it_is(padded):
    inner = {"x": [1, 2, 3]}
    inputs = {"a": inner, "b": [4, 5, 6]}
    for part in shares(inputs, 2, padded):
        assert part is not inputs
        assert part["a"] is not inner
    assert inputs == {"a": {"x": [1, 2, 3]}, "b": [4, 5, 6]}
    assert inputs["a"] is inner


def test_order_and_kinds_of_keys_stay():
    inputs = {3: [1, 2], (1, 2): [3, 4], None: [5, 6], "a": [7, 8]}
    for part in shares(inputs, 2):
        assert list(part) == list(inputs)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_empty_stays_empty(size):
    for empty in (
        [],
        (),
        {},
        {"a": []},
        {"a": {}},
        torch.zeros(0, 3),
        np.zeros((0, 2)),
    ):
        for padded in (False, True):
            for part in shares(empty, size, padded):
                assert len(part) == len(empty)
                assert type(part) is type(empty)
    assert shares(torch.zeros(0, 3), 2, True)[1].shape == (0, 3)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_leaves_of_different_length_are_named(size):
    inputs = {"a": {"x": [1, 2, 3]}, "b": "text", "c": (1, 2, 3), "d": [1, 2]}
    with pytest.raises(ValueError, match="must have the same length") as caught:
        shares({key: inputs[key] for key in "acd"}, size)
    text = str(caught.value)
    assert "the length of inputs['a']['x'] is 3 but that of inputs['d'] is 2" in text


def test_lengths_of_mappings_themselves_do_not_matter():
    """An inner dict's number of keys is no length."""
    inputs = {"a": {"x": [1, 2, 3, 4]}, "b": [1, 2, 3, 4]}
    assert shares(inputs, 4)[2] == {"a": {"x": [3]}, "b": [3]}


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


@pytest.mark.parametrize(
    "inputs",
    [
        collections.OrderedDict(b=[1, 2, 3], a=[4, 5, 6]),
        collections.UserDict(b=[1, 2, 3], a=[4, 5, 6]),
        types.MappingProxyType({"b": [1, 2, 3], "a": [4, 5, 6]}),
        Frozen({"b": [1, 2, 3], "a": [4, 5, 6]}),
    ],
    ids=lambda inputs: type(inputs).__name__,
)
def test_mappings_keep_their_class(inputs):
    first, second = shares(inputs, 2, True)
    assert type(first) is type(second) is type(inputs)
    assert dict(first) == {"b": [1, 2], "a": [4, 5]}
    assert dict(second) == {"b": [3, 3], "a": [6, 6]}
    assert list(first) == list(inputs)
    assert dict(inputs) == {"b": [1, 2, 3], "a": [4, 5, 6]}


def test_defaultdict_keeps_its_factory():
    inputs = collections.defaultdict(list, a=[1, 2])
    part = shares(inputs, 2)[1]
    assert type(part) is collections.defaultdict
    assert part == {"a": [2]}
    assert part["new"] == []
    assert inputs == {"a": [1, 2]}


def test_class_that_cannot_be_made_from_a_dict_becomes_one():
    part = shares(Named("x", a=[1, 2]), 2)[0]
    assert type(part) is dict
    assert part == {"a": [1]}


def test_interrupt_while_rebuilding_is_not_swallowed():
    class Interrupted(dict):
        def __init__(self, *args):
            if args:
                raise KeyboardInterrupt
            super().__init__()

    inputs = Interrupted()
    inputs["a"] = [1, 2]
    with pytest.raises(KeyboardInterrupt):
        shares(inputs, 2)


def test_endless_nesting_is_refused():
    inputs = {}
    inputs["again"] = inputs
    with pytest.raises(RecursionError):
        shares(inputs, 2)


# ---- Tensors and arrays ----


def test_tensor_share_is_a_view():
    inputs = torch.arange(12).reshape(6, 2)
    for padded in (False, True):
        part = shares(inputs, 3, padded)[1]
        assert part.data_ptr() == inputs[2:].data_ptr()
        assert part.tolist() == [[4, 5], [6, 7]]


DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_padding_of_tensors_keeps_dtype_and_repeats_the_last_row(dtype):
    inputs = torch.tensor([[0, 1], [1, 0], [1, 1]]).to(dtype)
    found = shares(inputs, 5, True)
    assert [part.dtype for part in found] == [dtype] * 5
    rows = [part.to(torch.complex64).real.tolist() for part in found]
    assert rows == [[[0, 1]], [[1, 0]], [[1, 1]], [[1, 1]], [[1, 1]]]


def test_tensors_without_data_stay_on_their_device():
    inputs = torch.empty(5, 3, device="meta")
    for part in shares(inputs, 4, True):
        assert part.shape == (2, 3)
        assert part.device == inputs.device


def test_classes_derived_from_tensor():
    class Derived(torch.Tensor):
        pass

    inputs = torch.arange(3).as_subclass(Derived)
    for part in shares(inputs, 2, True):
        assert type(part) is Derived
    parameter = torch.nn.Parameter(torch.arange(3.0))
    assert shares(parameter, 2)[1].tolist() == [2.0]
    assert shares(parameter, 2, True)[1].requires_grad


def test_scalars_of_tensor_and_array_kind_are_refused():
    for scalar in (torch.tensor(3), np.array(3), np.float32(3), torch.nn.Parameter()):
        if getattr(scalar, "ndim", 1) == 0:
            for size in (1, 2):
                with pytest.raises(TypeError, match=type(scalar).__name__):
                    shares(scalar, size)


def test_array_classes_and_byte_order_stay():
    swapped = np.arange(3, dtype=">i4")
    masked = np.ma.masked_array([1, 2, 3], mask=[False, False, True])
    records = np.zeros(3, dtype=[("a", int), ("b", "U4")])
    for inputs in (swapped, masked, records, np.array(["a", "b", "c"], dtype=object)):
        for part in shares(inputs, 2, True):
            assert type(part) is type(inputs)
            assert part.dtype == inputs.dtype
            assert len(part) == 2
    assert shares(masked, 2, True)[1].mask.tolist() == [True, True]


# ---- Other libraries' containers ----


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["DataFrame", "Series", "Index"])
def test_pandas(kind, padded):
    pandas = pytest.importorskip("pandas")
    for size in (2, 3, 5):
        for count in (0, 1, 3, 4, 7):
            numbers = list(range(count))
            # Labels that brackets would prefer to positions.
            labels = [10 - number for number in numbers]
            inputs = {
                "DataFrame": lambda n, i: pandas.DataFrame({"a": n}, index=i),
                "Series": lambda n, i: pandas.Series(n, index=i, dtype="int64"),
                "Index": lambda n, i: pandas.Index(n, dtype="int64"),
            }[kind](numbers, labels)
            found = shares(inputs, size, padded)
            for part, positions in zip(found, wanted(count, size, padded), strict=True):
                values = part["a"] if kind == "DataFrame" else part
                assert list(values) == positions
                assert type(part) is type(inputs)
                if kind != "Index":
                    assert list(part.index) == [labels[at] for at in positions]


@pytest.mark.parametrize("padded", [False, True])
def test_datasets(padded):
    datasets = pytest.importorskip("datasets")
    for size in (2, 4):
        for count in (1, 4, 5):
            inputs = datasets.Dataset.from_dict({"a": list(range(count))})
            found = shares(inputs, size, padded)
            assert [part["a"][:] for part in found] == wanted(count, size, padded)
            assert {type(part) for part in found} == {datasets.Dataset}


def test_dataset_share_is_not_copied():
    datasets = pytest.importorskip("datasets")
    inputs = datasets.Dataset.from_dict({"a": list(range(10))})
    assert shares(inputs, 2)[1]._indices is None


def test_batch_encoding():
    transformers = pytest.importorskip("transformers")
    inputs = transformers.BatchEncoding(
        {"input_ids": torch.arange(6).reshape(3, 2), "attention_mask": [[1], [2], [3]]}
    )
    first, second = shares(inputs, 2, True)
    assert type(first) is type(second) is transformers.BatchEncoding
    assert second["input_ids"].tolist() == [[4, 5], [4, 5]]
    assert second.attention_mask == [[3], [3]]
    assert len(inputs["attention_mask"]) == 3


def test_model_output():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    inputs = outputs.BaseModelOutput(last_hidden_state=torch.arange(3.0))
    part = shares(inputs, 2)[0]
    assert type(part) is outputs.BaseModelOutput
    assert part.last_hidden_state.tolist() == [0.0, 1.0]


def test_no_library_is_imported(fresh):
    fresh.python("""
        import sys
        from pyaccel import _C

        before = set(sys.modules)
        assert _C.split(range(5), 1, 2) == range(3, 5)
        assert _C.split({"a": [1, 2]}, 1, 2, True) == {"a": [2]}
        new = set(sys.modules) - before
        assert not new, new
    """).check()
