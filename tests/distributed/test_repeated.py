"""The same call again and others among them: a backend may learn from earlier calls."""

import pytest
import torch

from pyaccel import PartialState, _torch_transport
from pyaccel.utils.operations import (
    DistributedOperationException,
    broadcast,
    gather,
    gather_object,
)
from tests.harness import here

# Around the room of a card, of a page, and beyond all that may go with a card.
LENGTHS = (1, 208, 209, 4096, 4097, 1 << 20, 5 << 20)


def part(rank, length, step=0):
    return torch.full((length,), (rank * 7 + step) % 251, dtype=torch.uint8)


def check_gather(length, step=0):
    parts = [part(rank, length, step) for rank in range(here.size)]
    assert torch.equal(gather(part(here.rank, length, step)), torch.cat(parts))


def check_broadcast(length, root, step=0):
    got = broadcast(part(here.rank, length, step), from_process=root)
    assert torch.equal(got, part(root, length, step))


def check_objects(length):
    got = gather_object([("x" * length, here.rank)])
    assert got == [("x" * length, rank) for rank in range(here.size)]


def again(length):
    for step in range(4):
        check_gather(length, step)
    for step in range(4):
        check_broadcast(length, step % here.size, step)
    for _ in range(3):
        check_objects(length)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_same_call_again(backend, size, length):
    backend.run(again, length, size=size)


def in_turn():
    # Up and down, with the other operations in between.
    for length in (*LENGTHS, *reversed(LENGTHS), *LENGTHS[::3]):
        check_gather(length)
        PartialState().wait_for_everyone()
        check_broadcast(length, here.size - 1)
        check_objects(length // 1000)


@pytest.mark.parametrize("size", [2, 3])
def test_other_calls_in_between(backend, size):
    backend.run(in_turn, size=size)


def uneven_after_even():
    for _ in range(3):
        check_gather(4096)
    for _ in range(2):
        lengths = [4096 - rank for rank in range(here.size)]
        parts = [part(rank, length) for rank, length in enumerate(lengths)]
        got = gather(part(here.rank, lengths[here.rank]))
        assert torch.equal(got, torch.cat(parts))
    check_gather(4096)


@pytest.mark.parametrize("size", [2, 3])
def test_uneven_rows_after_even_ones(backend, size):
    backend.run(uneven_after_even, size=size)


def errors_after_success():
    own = part(here.rank, 4096)
    for _ in range(2):
        check_gather(4096)
        check_broadcast(4096, 1)
        before = own.clone()
        # Rank 0 means its own values and the others mean rank 0's: nobody's change.
        with pytest.raises(DistributedOperationException, match="different"):
            broadcast(own if here.rank else own.view(torch.int8), from_process=0)
        assert torch.equal(own, before)
        with pytest.raises((TypeError, DistributedOperationException)):
            gather(own if here.rank else {"what": "no tensor"})
        with pytest.raises(DistributedOperationException, match="different"):
            gather(own) if here.rank else broadcast(own)
        assert torch.equal(own, before)
    check_gather(4096)


@pytest.mark.parametrize("size", [2, 3])
def test_errors_after_success(backend, size):
    backend.run(errors_after_success, size=size)


def exchanges(length):
    calls = []
    stream = _torch_transport.TorchTransport.stream
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _torch_transport.TorchTransport,
            "stream",
            lambda self, *rest: calls.append(rest[0]) or stream(self, *rest),
        )
        check_gather(length)
        first = len(calls)
        check_gather(length)
        PartialState().wait_for_everyone()
        check_gather(length)
        return first, len(calls)


@pytest.mark.parametrize(
    ("length", "expected"), [(208, (0, 0)), (4096, (1, 1)), (5 << 20, (1, 3))]
)
def test_a_payload_seen_before_costs_no_exchange_of_its_own(ranks, length, expected):
    over = {"via": "variables", "group_env": {"PYACCEL_COMM": "torch"}}
    got = ranks.run(exchanges, length, size=2, own_group=True, **over)
    assert got == [expected] * 2
