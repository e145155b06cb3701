"""A rank that ends: the others are told, also of work on GPUs, and the CPU goes on."""

import signal

import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils import gather
from pyaccel.utils.operations import (
    DistributedOperationException,
    DistributedPeerError,
)
from tests.gpu.ways import APART, SHARED
from tests.harness import here

MIB = 1 << 20
# Cycles for which a stream is kept busy: longer than it takes to kill a process.
FOREVER = 20_000_000_000


def own_part(count):
    return torch.full((count,), here.rank, dtype=torch.uint8)


def expect_broken():
    """The group is broken and says so; the CPU and this rank's GPU are not."""
    for call in (lambda: gather(own_part(8)), PartialState().wait_for_everyone):
        with pytest.raises(DistributedOperationException):
            call()
    assert _group.comm.broken
    assert torch.ones(3, device="cpu").sum().item() == 3
    assert (own_part(1000) + 1).sum().item() == 1000 * (here.rank + 1)


def killed_before(count):
    gather(own_part(count))
    torch.cuda.synchronize()
    if here.rank == 1:
        here.die()
    here.wait_ended(1)
    with pytest.raises(DistributedPeerError, match="rank 1"):
        gather(own_part(count))
    expect_broken()


@pytest.mark.parametrize("count", [8, 8 * MIB])
@pytest.mark.parametrize("size", [2, 3])
def test_killed_before_an_operation(backend, size, count):
    outcomes = backend.run(killed_before, count, size=size, check=False)
    survivors(outcomes)


def killed_behind():
    """Rank 1's GPU never comes to what all ranks have enqueued; then rank 1 ends."""
    gather(own_part(MIB))
    torch.cuda.synchronize()
    if here.rank == 1:
        torch.cuda._sleep(FOREVER)
    gather(own_part(MIB))
    here.meet("enqueued")
    if here.rank == 1:
        here.die()
    with pytest.raises(DistributedPeerError, match="rank 1"):
        # The news comes to the main thread, wherever it is, or with an operation.
        here.wait_ended(1)
        torch.cuda.synchronize()
        PartialState().wait_for_everyone()
    expect_broken()


@pytest.mark.parametrize("ways", [SHARED, APART], ids=["one GPU", "a GPU each"])
@pytest.mark.parametrize("way", ["nccl", "ipc"])
def test_killed_behind_an_operation(ranks, ways, way):
    # On a GPU of its own rank 1's work does not keep the others' from running.
    outcomes = (
        ways[way].over(ranks).run(killed_behind, size=3, check=False, timeout=60.0)
    )
    survivors(outcomes)


def survivors(outcomes):
    """Every rank but the killed one went through."""
    assert outcomes[1].exit == -signal.SIGKILL
    for outcome in outcomes:
        assert outcome.rank == 1 or outcome.returned, outcome.report()


def too_late():
    """A rank that does not come within the deadline."""
    gather(own_part(8))
    torch.cuda.synchronize()
    if here.rank == 0:
        _group.comm.timeout = 0.5
        with pytest.raises(DistributedOperationException) as caught:
            gather(own_part(8))
        here.post("given up")
        assert torch.ones(3, device="cpu").sum().item() == 3
        return str(caught.value)
    here.wait("given up")
    with pytest.raises(DistributedOperationException):
        gather(own_part(8))
    return None


def test_a_rank_that_does_not_come(backend):
    outcomes = backend.run(too_late, size=2, check=False)
    assert all(outcome.returned for outcome in outcomes), outcomes[0].report()
    assert "rank 1" in outcomes[0].value


def no_room():
    own = own_part(64 * MIB)
    gather(own_part(8))
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    # Of a GPU of 80 GB this is less than the result takes.
    torch.cuda.set_per_process_memory_fraction(1e-4 if here.rank == 1 else 1.0)
    kinds = (torch.cuda.OutOfMemoryError, DistributedOperationException)
    with pytest.raises(kinds) as caught:
        gather(own)
        # Who has room may be told behind the operation.
        torch.cuda.synchronize()
        PartialState().wait_for_everyone()
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.ones(3, device="cpu").sum().item() == 3
    assert (own_part(1000) + 1).sum().item() == 1000 * (here.rank + 1)
    return caught.type.__name__, str(caught.value)


def test_no_memory_for_a_result(backend):
    told, guilty = backend.run(no_room, size=2, own_group=True)
    assert guilty[0] == "OutOfMemoryError"
    assert told[0].startswith("Distributed")
    assert "rank 1" in told[1]
