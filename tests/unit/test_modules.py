"""What surrounds a model."""

import pickle
from functools import wraps
from types import MethodType

import pytest
import torch
from torch import nn

from pyaccel.utils import (
    compile_regions,
    extract_model_from_parallel,
    get_model_tp_size,
    get_module_children_bottom_up,
    has_compiled_regions,
    is_compiled_module,
    model_has_dtensor,
)


def make():
    return nn.Sequential(nn.Linear(2, 2), nn.ModuleList([nn.ReLU(), nn.ReLU()]))


def test_wrappers_come_off_all_at_once():
    model = make()
    assert extract_model_from_parallel(model) is model
    twice = nn.DataParallel(nn.DataParallel(model))
    assert extract_model_from_parallel(twice) is model


def test_wrappers_deep_within():
    model = make()
    outer = nn.Sequential(nn.Sequential(nn.DataParallel(model)))
    assert isinstance(extract_model_from_parallel(outer)[0][0], nn.DataParallel)
    assert extract_model_from_parallel(outer, recursive=True)[0][0] is model


def test_compiled_models():
    model = make()
    assert not is_compiled_module(model)
    assert not has_compiled_regions(model)
    compiled = torch.compile(nn.DataParallel(model), backend="eager")
    assert is_compiled_module(compiled)
    assert has_compiled_regions(nn.Sequential(compiled))
    assert extract_model_from_parallel(compiled, keep_torch_compile=False) is model
    assert extract_model_from_parallel(compiled) is compiled
    assert compiled._orig_mod is model


def test_a_model_whose_regions_were_compiled():
    model, regions = make(), make()
    regions.__dict__["_orig_mod"] = model
    assert extract_model_from_parallel(regions) is regions
    assert extract_model_from_parallel(regions, keep_torch_compile=False) is model


class Model(nn.Module):
    """Repeated blocks deep within, and something around them."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Module()
        self.inner.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        """Every block in turn."""
        for block in self.inner.blocks:
            x = block(x)
        return self.head(x)


@torch.no_grad()
def test_blocks_are_compiled_one_by_one():
    model = Model()
    inputs = torch.ones(1, 2)
    expected = model(inputs)
    compiled = compile_regions(model, backend="eager")
    assert type(compiled) is Model
    assert not is_compiled_module(compiled)
    assert [is_compiled_module(block) for block in compiled.inner.blocks] == [True] * 3
    assert is_compiled_module(compiled.head)
    assert torch.equal(compiled(inputs), expected)
    assert {id(p) for p in compiled.parameters()} == {id(p) for p in model.parameters()}
    assert not has_compiled_regions(model), "the model itself is as it was"
    assert has_compiled_regions(compiled)
    plain = extract_model_from_parallel(compiled, keep_torch_compile=False)
    assert plain is model


def test_a_method_of_the_model_is_the_copys():
    model = Model()
    model.forward = MethodType(lambda self, x: self.head(x) * 0, model)
    compiled = compile_regions(model, backend="eager")
    assert compiled.forward.__self__ is compiled
    assert compiled(torch.ones(1, 2)).item() == 0


def test_without_blocks_a_model_is_compiled_whole():
    layer = nn.Linear(2, 2)
    compiled = compile_regions(layer, backend="eager")
    assert is_compiled_module(compiled)
    assert extract_model_from_parallel(compiled, keep_torch_compile=False) is layer


def test_the_forward_before_it_was_wrapped():
    layer = nn.Linear(2, 2)
    original = layer._original_forward = layer.forward
    wrapped = wraps(original.__func__)(lambda self, x: torch.zeros(2))
    layer.forward = MethodType(wrapped, layer)
    inputs = torch.ones(2)
    assert torch.equal(extract_model_from_parallel(layer)(inputs), torch.zeros(2))
    extract_model_from_parallel(layer, keep_fp32_wrapper=False)
    assert torch.equal(layer(inputs), original(inputs))
    assert not hasattr(layer, "_original_forward")
    assert torch.equal(pickle.loads(pickle.dumps(layer))(inputs), layer(inputs))


@pytest.mark.parametrize("value", [None, 3, "x"])
def test_what_is_no_model(value):
    assert extract_model_from_parallel(value) is value
    assert not is_compiled_module(value)
    assert not has_compiled_regions(value)
    assert not model_has_dtensor(value)


def test_children_come_before_their_parents():
    names = [name for name, _ in get_module_children_bottom_up(make(), True)]
    assert names == ["0", "1.0", "1.1", "1", ""]
    modules = get_module_children_bottom_up(make())
    assert [type(m).__name__ for m in modules][-1] == "Sequential"


def test_a_model_in_one_piece():
    model = make()
    assert not model_has_dtensor(model)
    assert get_model_tp_size(model) is None
    model._tp_size = 2
    assert get_model_tp_size(model) == 2
