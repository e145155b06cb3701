"""Leak cases of walks over nested structures, failures included."""

import pytest
import torch

from pyaccel import _C
from tests.leaks.table import case


def same(leaf):
    return leaf


def refuse(leaf):
    raise ArithmeticError


class Unbuilt(list):
    """A list that cannot be made anew."""

    def __init__(self, *_):
        raise ArithmeticError


@case("recursively_apply")
def recursively_apply(comm, given):
    _C.recursively_apply(same, given.tree, (), None, False, {})
    _C.recursively_apply(same, given.objects, (), _C.is_leaf, False, {})
    _C.recursively_apply(torch.add, given.tensor, (1,), None, True, {"alpha": 2})


@case("recursively_apply")
def recursively_apply_refused(comm, given):
    with pytest.raises(TypeError):
        _C.recursively_apply(same, given.objects, (), None, True, {})
    with pytest.raises(ArithmeticError):
        _C.recursively_apply(refuse, given.tree, (), None, False, {})
    with pytest.raises(ArithmeticError):
        _C.recursively_apply(same, given.tree, (), refuse, False, {})
    with pytest.raises(ArithmeticError):
        _C.recursively_apply(same, Unbuilt.__new__(Unbuilt), (), None, False, {})
    with pytest.raises(TypeError):
        _C.recursively_apply(same, given.tree)
    with pytest.raises(TypeError):
        _C.recursively_apply(same, given.tree, given.list, None, False, {})


@case("send_to_device")
def send_to_device(comm, given):
    _C.send_to_device(given.tree, torch.device("cpu"), {}, None)
    _C.send_to_device(given.tree, "meta", {"non_blocking": True}, ["b"])
    _C.send_to_device(given.objects, "cpu", {}, None)
    _C.send_to_device(given.tree, "meta", {}, None, settle=lambda device: None)
    with pytest.raises(TypeError):
        _C.send_to_device(given.tree, "meta", {}, None, settle=abs)
    with pytest.raises(RuntimeError):
        _C.send_to_device(given.tensor, "nowhere", {}, None)
    with pytest.raises(TypeError):
        _C.send_to_device(given.tree, "cpu", {}, 5)
    with pytest.raises(TypeError):
        _C.send_to_device(given.tree)


@case("find_batch_size")
def find_batch_size(comm, given):
    assert _C.find_batch_size(given.tree) == 10
    assert _C.find_batch_size({"a": [given.strided]}) == 4
    for wrong in (given.text, [], {}):
        with pytest.raises((TypeError, ValueError)):
            _C.find_batch_size(wrong)
