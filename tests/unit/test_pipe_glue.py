"""Operations between units: who runs them, what is sent, and what comes out.

Two ranks live in this process: each has its own link, and what they send is kept. Both
must decide alike, and both together have the right result.
"""

from collections import deque

import pytest
import torch

from pyaccel._pipe.link import Absent, Link
from pyaccel._pipe.spec import spec_of
from pyaccel._pipe.tracked import GlueError, Parameter, Tracked, real

EVERYWHERE = 0b11


class Wire:
    """Messages between ranks of one process."""

    def __init__(self, rank, queues):
        self.rank = rank
        self.size = 2
        self.comm = None
        self._queues = queues

    def send(self, to, message):
        if isinstance(message.body, torch.Tensor):
            message = message._replace(body=message.body.clone())
        self._queues[self.rank, to].append(message)

    def receive(self, source, device):
        return self._queues[source, self.rank].popleft()


class Ranks:
    """Two ranks that do the same, one after the other."""

    def __init__(self):
        queues = {(0, 1): deque(), (1, 0): deque()}
        self.links = [Link(Wire(rank, queues), torch.device("cpu")) for rank in (0, 1)]
        for link in self.links:
            link.begin()

    def tracked(self, tensor, holders):
        """A placeholder on each rank."""
        return [
            Tracked(link, spec_of(tensor), holders, self._own(link, tensor, holders))
            for link in self.links
        ]

    @staticmethod
    def _own(link, tensor, holders):
        return tensor.clone() if holders >> link.rank & 1 else None

    def run(self, function, *placed):
        """What a function returns on each rank; the one that sends goes first."""
        first = self.sender(placed)
        results = [None, None]
        for rank in (first, 1 - first):
            results[rank] = function(*(each[rank] for each in placed))
        assert self.links[0].digest == self.links[1].digest
        assert self.links[0].counts == self.links[1].counts
        return results

    @staticmethod
    def sender(placed):
        """The rank that has what the other one lacks."""
        return 1 if any(each[0].holders == 0b10 for each in placed) else 0


@pytest.fixture
def ranks():
    with torch.no_grad():
        yield Ranks()


def check(results, expected, holders):
    """Both know the same, and whoever holds it has the right bits."""
    for rank, result in enumerate(results):
        if holders == EVERYWHERE:
            assert torch.equal(real(result), expected)
            continue
        assert isinstance(result, Tracked)
        assert result.holders == holders
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        assert (real(result) is not None) == bool(holders >> rank & 1)
        if holders >> rank & 1:
            assert torch.equal(real(result), expected)


A = torch.arange(6.0).reshape(2, 3) - 2


@pytest.mark.parametrize("holders", [0b01, 0b10])
def test_an_operation_runs_where_its_argument_is(ranks, holders):
    a = ranks.tracked(A, holders)
    check(ranks.run(lambda x: (x * 2 + 1).T.contiguous(), a), (A * 2 + 1).T, holders)
    assert ranks.links[0].counts["messages"] == 0


def test_arguments_meet_on_the_later_rank(ranks):
    a, b = ranks.tracked(A, 0b01), ranks.tracked(A + 1, 0b10)
    first = [x + 0 for x in a]
    assert [each.holders for each in first] == [0b01, 0b01]
    results = [None, None]
    for rank in (0, 1):
        results[rank] = a[rank] + b[rank]
    check(results, A + A + 1, 0b10)
    assert a[0].holders == EVERYWHERE
    assert ranks.links[0].counts["messages"] == 1


def test_shapes_need_no_bytes(ranks):
    a = ranks.tracked(A, 0b10)
    results = ranks.run(torch.zeros_like, a)
    for result in results:
        assert type(result) is torch.Tensor
        assert result.shape == A.shape
    assert ranks.links[0].counts["messages"] == 0


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x.numpy().tolist(),
        lambda x: torch.equal(x, x),
        lambda x: x.nonzero().tolist(),
        lambda x: x[x > 0].tolist(),
    ],
)
@pytest.mark.parametrize("holders", [0b01, 0b10])
def test_a_value_is_everybodys(ranks, look, holders):
    a = ranks.tracked(A, holders)
    assert ranks.run(look, a) == [look(A)] * 2


def test_a_plain_mask_becomes_positions(ranks):
    mask = A[0] > -1.5
    a = ranks.tracked(A, 0b01)
    check(ranks.run(lambda x: x[:, mask], a), A[:, mask], 0b01)
    assert ranks.links[0].counts["messages"] == 0


def test_a_change_in_place_stays_with_its_holder(ranks):
    a = ranks.tracked(A, 0b01)

    def change(x):
        x[:, 0].add_(5)
        x.mul_(2)
        return x

    check(ranks.run(change, a), change(A.clone()), 0b01)


def test_copies_from_before_a_change_count_no_more(ranks):
    a = ranks.tracked(A, 0b01)
    views = ranks.run(lambda x: x[0], a)
    ranks.run(lambda x: x.link.replicate(x), a)
    assert a[1].holders == EVERYWHERE

    def change(view):
        view.add_(1)

    ranks.run(change, views)
    expected = A.clone()
    expected[0] += 1
    check(a, expected, 0b01)


def test_a_plain_tensor_that_is_written_is_written_everywhere(ranks):
    a = ranks.tracked(A, 0b01)
    plain = [torch.zeros(2, 3), torch.zeros(2, 3)]
    for rank in (0, 1):
        plain[rank].copy_(a[rank])
    assert all(torch.equal(each, A) for each in plain)


def test_draws_leave_generators_in_step(ranks):
    weights = ranks.tracked(A.abs() + 0.5, 0b01)
    after = []

    def draw(x):
        torch.manual_seed(3)
        drawn = torch.multinomial(x, 2)
        after.append(torch.rand(1))
        return drawn

    torch.manual_seed(3)
    expected = torch.multinomial(A.abs() + 0.5, 2)
    check(ranks.run(draw, weights), expected, 0b01)
    assert torch.equal(*after)


def test_small_results_that_decide_go_to_all(ranks):
    a = ranks.tracked(A, 0b01)
    for link in ranks.links:
        link.deciding = True
    results = ranks.run(lambda x: x.argmax(-1), a)
    for result in results:
        assert type(result) is torch.Tensor
        assert torch.equal(result, A.argmax(-1))


def test_several_results(ranks):
    a = ranks.tracked(A, 0b10)
    results = ranks.run(lambda x: torch.chunk(x, 3, dim=1)[2], a)
    check(results, A[:, 2:], 0b10)


def test_a_parameter_of_another_rank_is_asked_for(ranks):
    a = ranks.tracked(A, 0b10)
    a[0].absent = Parameter("head", "weight")
    with pytest.raises(Absent, match=r"head\.weight"):
        a[0] + 1


def test_what_needs_memory_here_is_refused(ranks):
    a = ranks.tracked(A, 0b10)
    with pytest.raises(GlueError, match="no address"):
        a[0].data_ptr()
    with pytest.raises(GlueError, match="pickled"):
        a[0].__reduce_ex__(5)
    assert "on rank 1" in repr(a[0])


def test_wrong_arguments_are_torchs_error(ranks):
    a = ranks.tracked(A, 0b01)
    with pytest.raises(RuntimeError):
        ranks.run(lambda x: x @ torch.zeros(7, 7), a)
