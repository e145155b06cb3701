"""send_to_device to a GPU: copies of host tensors are queued, and waited for once."""

import pytest
import torch

from pyaccel import _C
from pyaccel.utils import _nested, send_to_device

META = torch.device("meta")
WAITING = {"non_blocking": False}


class Noting:
    """Something with a method `to` that is no tensor."""

    def to(self, device, non_blocking):
        return ["noted", device, non_blocking]


class Noted(torch.Tensor):
    """A tensor that says how it was sent."""

    def to(self, device, non_blocking):
        return ["noted", device, non_blocking]


def sent(tree, skip=None):
    """What became of a structure, and what settle was called with."""
    settled = []
    return _C.send_to_device(tree, META, WAITING, skip, settled.append), settled


def test_host_tensors_are_queued_and_others_are_not():
    tree = {"a": torch.ones(2).as_subclass(Noted), "b": [Noting()]}
    got, settled = sent(tree)
    assert got == {"a": ["noted", META, True], "b": [["noted", META, False]]}
    assert settled == [META]


def test_nothing_is_waited_for_where_nothing_was_copied():
    there = torch.ones(2, device=META)
    got, settled = sent([there, Noting(), 3])
    assert got[0] is there
    assert settled == []
    assert sent({"a": torch.ones(2)}, skip=["a"])[1] == []


def test_an_error_in_settle_is_raised():
    def settle(device):
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        _C.send_to_device(torch.ones(2), META, WAITING, None, settle)


@pytest.mark.parametrize(
    ("device", "gpu"),
    [
        (torch.device("cuda", 1), True),
        ("cuda:0", True),
        ("cpu", False),
        (META, False),
        (0, torch.version.cuda is not None),
        (None, False),
    ],
)
def test_what_names_a_gpu(device, gpu):
    assert _nested._is_gpu(device) is gpu


def test_copies_to_a_gpu_are_waited_for_unless_told_not_to(monkeypatch):
    settles = []

    def send(tree, device, keywords, skip_keys, settle):
        settles.append(settle)

    monkeypatch.setattr(_C, "send_to_device", send)
    send_to_device(torch.ones(1), "cuda:0")
    send_to_device(torch.ones(1), "cuda:0", non_blocking=True)
    send_to_device(torch.ones(1), "cpu")
    assert settles == [_nested._wait_for_copies, None, None]
