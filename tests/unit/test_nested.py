"""What is found in nested structures, and made of them, in one process."""

import pickle
import time
from collections import OrderedDict, UserDict, namedtuple
from typing import NamedTuple

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from pyaccel.utils import (
    TensorInformation,
    concatenate,
    convert_outputs_to_fp32,
    convert_to_fp32,
    find_batch_size,
    find_device,
    get_data_structure,
    honor_type,
    initialize_tensors,
    is_namedtuple,
    is_tensor_information,
    listify,
    pad_input_tensors,
    slice_tensors,
)
from pyaccel.utils.operations import (
    GatheredParameters,
    get_shape,
    ignorant_find_batch_size,
    is_torch_xpu_tensor,
)

Pair = namedtuple("Pair", "left right")


class Point(NamedTuple):
    x: object
    y: object = 0


def test_batch_sizes():
    assert find_batch_size(torch.ones(3, 2)) == 3
    assert find_batch_size([(torch.ones(4),), torch.ones(1)]) == 4
    assert find_batch_size({"a": {"b": torch.ones(5)}, "c": 1}) == 5
    assert find_batch_size(UserDict(a=[torch.ones(6)])) == 6
    assert find_batch_size(BaseModelOutput(last_hidden_state=torch.ones(7, 1))) == 7
    assert find_batch_size(np.ones((8, 2))) == 8
    assert find_batch_size(torch.ones(0, 2)) == 0


@pytest.mark.parametrize("tree", [[], {}, (), [[]], {"a": ()}, UserDict()])
def test_no_batch_size_in_nothing(tree):
    with pytest.raises(ValueError, match="Cannot find the batch size from empty"):
        find_batch_size(tree)
    assert ignorant_find_batch_size(tree) is None


@pytest.mark.parametrize("tree", [1, "text", None, ["a"], {"a": object}])
def test_no_batch_size_in_what_is_no_tensor(tree):
    with pytest.raises(TypeError, match="Can only find the batch size of tensors but"):
        find_batch_size(tree)
    assert ignorant_find_batch_size(tree) is None


def test_no_batch_size_without_dimensions():
    with pytest.raises(IndexError):
        find_batch_size(torch.tensor(1))
    with pytest.raises(IndexError):
        ignorant_find_batch_size([torch.tensor(1)])


def test_devices():
    assert find_device({"a": [], "b": [1, torch.ones(1)]}) == torch.device("cpu")
    assert find_device((torch.ones(1, device="meta"),)) == torch.device("meta")
    assert find_device([{}, "text", None]) is None
    assert not is_torch_xpu_tensor(torch.ones(1))


def test_structures_without_their_numbers():
    tree = {"a": torch.ones(2, 3, dtype=torch.float16), "b": [torch.tensor(1), "x"]}
    told = get_data_structure(tree)
    assert told["a"] == TensorInformation(torch.Size([2, 3]), torch.float16)
    assert is_tensor_information(told["b"][0])
    assert told["b"][1] == "x"
    made = initialize_tensors(told)
    assert (made["a"].shape, made["a"].dtype) == ((2, 3), torch.float16)
    assert (made["b"][0].shape, made["b"][0].dtype) == ((), torch.int64)
    assert get_shape(tree) == {"a": [2, 3], "b": [[], "x"]}


def test_numbers_of_tensors():
    dtypes = [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float16]
    for dtype in [*dtypes, torch.float64, torch.int8, torch.uint16, torch.uint64]:
        assert listify([torch.tensor([1, 2]).to(dtype)]) == [[1, 2]], dtype
    tree = Pair(torch.tensor(0.5, requires_grad=True), (torch.tensor([True]), "x"))
    assert listify(tree) == Pair(0.5, ([True], "x"))
    assert listify(torch.tensor([1 + 2j]).conj()) == [1 - 2j]
    assert listify(torch.ones(0, 2)) == []


def test_slices():
    tree = {"a": torch.arange(6), "b": [torch.arange(12).reshape(6, 2), 3]}
    sliced = slice_tensors(tree, slice(1, 3), 0, 1)
    assert sliced["a"].tolist() == [1, 2]
    assert sliced["b"][0].tolist() == [[2, 3], [4, 5]]
    assert sliced["b"][1] == 3
    assert slice_tensors(torch.arange(3), 1).item() == 1


def test_concatenations():
    tree = Pair(torch.ones(1, 2), {"a": [torch.zeros(2, 1)]})
    joined = concatenate([tree, tree])
    assert type(joined) is Pair
    assert joined.left.shape == (2, 2)
    assert joined.right["a"][0].shape == (4, 1)
    assert concatenate([tree, tree], dim=1).left.shape == (1, 4)
    assert concatenate(["x"]) == "x"
    assert concatenate([{"a": 1}]) == {"a": 1}
    ordered = concatenate([OrderedDict(a=torch.ones(1))] * 3)
    assert type(ordered) is OrderedDict
    assert ordered["a"].tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="Can only concatenate tensors but got"):
        concatenate(["x", "y"])
    with pytest.raises(KeyError):
        concatenate([{"a": torch.ones(1)}, {"b": torch.ones(1)}])
    with pytest.raises(IndexError):
        concatenate([[torch.ones(1)], []])
    with pytest.raises(IndexError):
        concatenate([])


@pytest.mark.parametrize("processes", range(1, 9))
@pytest.mark.parametrize("items", [1, 2, 3, 7, 8, 9, 16, 17])
def test_padded_inputs_divide_among_processes(processes, items):
    rows = torch.arange(items * 2.0).reshape(items, 2)
    tree = {"rows": rows, "columns": [rows.t()]}
    padded = pad_input_tensors(tree["rows"], items, processes)
    missing = -items % processes
    expected = torch.cat([rows, *[rows[-1:]] * missing])
    assert torch.equal(padded, expected)
    columns = pad_input_tensors(tree["columns"], items, processes, dim=1)
    assert torch.equal(columns[0], expected.t())


def test_inputs_that_cannot_be_padded():
    with pytest.raises(ValueError, match="has no last item to repeat"):
        pad_input_tensors(torch.ones(0, 2), 1, 2)
    with pytest.raises(TypeError, match="passed to `_pad_input_tensors`"):
        pad_input_tensors(["x"], 1, 2)


def test_types_are_honoured():
    assert honor_type([1], (n for n in (2, 3))) == [2, 3]
    assert honor_type(Pair(0, 0), iter((2, 3))) == Pair(2, 3)
    assert honor_type((1,), [2]) == (2,)
    assert is_namedtuple(Pair(1, 2))
    assert is_namedtuple(Point(1))
    assert not is_namedtuple((1, 2))
    assert not is_namedtuple(time.gmtime(0))
    assert not is_namedtuple([1])


def test_halves_become_floats():
    tree = {
        "half": torch.ones(1, dtype=torch.float16),
        "bfloat": [torch.ones(1, dtype=torch.bfloat16)],
        "double": torch.ones(1, dtype=torch.float64),
        "int": torch.ones(1, dtype=torch.int8),
        "text": "x",
    }
    made = convert_to_fp32(tree)
    assert made["half"].dtype == made["bfloat"][0].dtype == torch.float32
    assert made["double"] is tree["double"]
    assert made["int"] is tree["int"]
    assert made["text"] == "x"


def test_outputs_become_floats():
    def forward(x, *, scale=1):
        """What it does."""
        return BaseModelOutput(last_hidden_state=x.half() * scale)

    converting = convert_outputs_to_fp32(forward)
    output = converting(torch.ones(2), scale=3)
    assert type(output) is BaseModelOutput
    assert output.last_hidden_state.dtype == torch.float32
    assert output.last_hidden_state.tolist() == [3, 3]
    assert converting.__wrapped__.__wrapped__ is forward
    assert converting.__wrapped__.__doc__ == "What it does."
    with pytest.raises(pickle.PicklingError, match="unwrap"):
        pickle.dumps(converting.__wrapped__)


def test_parameters_are_whole():
    parameter = torch.nn.Parameter(torch.ones(1))
    entered = []
    for given in (parameter, [parameter], (), None):
        with GatheredParameters(given, modifier_rank=0):
            entered.append(given)
    assert len(entered) == 4
    parameter.ds_id = 3
    with (
        pytest.raises(NotImplementedError, match="ZeRO-3"),
        GatheredParameters([parameter]),
    ):
        entered.append("never")
    with GatheredParameters([parameter], enabled=False):
        entered.append("left alone")
    assert entered[4:] == ["left alone"]
