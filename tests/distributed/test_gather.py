"""`gather`: one leaf a rank becomes the concatenation on every rank."""

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import gather
from tests.distributed import values
from tests.distributed.paths import every_path, use_path
from tests.distributed.values import array, check_same, joined, tensor
from tests.harness import every_size, here


def gathered(make, rank_count):
    """What `gather` should return for leaves that `make(rank)` makes."""
    parts = [make(rank) for rank in range(rank_count)]
    # Alone, a rank gets its own leaf back as it is.
    return parts[0] if rank_count == 1 else joined(parts)


def gather_shapes(path, dtype, shapes):
    use_path(path)
    for shape in shapes:

        def make(rank, shape=shape):
            return tensor(dtype, shape, rank)

        check_same(gather(make(here.rank)), gathered(make, here.size))


@every_size
@every_path
@pytest.mark.parametrize("dtype", values.DTYPES)
def test_every_dtype(backend, size, path, dtype):
    shapes = [(), (1,), (3, 5), (0,), (0, 3), (3, 0), (2, 1, 300), (1000,)]
    backend.run(gather_shapes, path, dtype, shapes, size=size)


def gather_arrays(dtype):
    PartialState()
    for shape in [(), (1,), (3, 5), (0, 3), (3, 0), (20_000,)]:

        def make(rank, shape=shape):
            return array(dtype, shape, rank)

        check_same(gather(make(here.rank)), gathered(make, here.size))


@every_size
@pytest.mark.parametrize("dtype", values.NUMPY_DTYPES)
def test_every_numpy_dtype(backend, size, dtype):
    backend.run(gather_arrays, dtype, size=size)


def gather_strided_arrays():
    PartialState()

    def check(make):
        check_same(gather(make(here.rank)), gathered(make, here.size))

    base = np.arange(24.0).reshape(4, 6)
    check(lambda rank: (base + rank).T)
    check(lambda rank: (base + rank)[::-2, 1::2])
    check(lambda rank: np.asfortranarray(base + rank))
    check(lambda rank: np.broadcast_to(np.float32(rank), (3, 2)))
    check(lambda rank: read_only(base + rank))


def read_only(value):
    value.flags.writeable = False
    return value


@every_size
def test_arrays_of_every_layout(backend, size):
    backend.run(gather_strided_arrays, size=size)


def gather_views(path):
    use_path(path)
    parts = [values.views(rank + 1) for rank in range(here.size)]
    for name, own in parts[here.rank].items():
        got = gather(own)
        assert not got.requires_grad or got is own, name
        if here.size == 1:
            assert got is own, name
        else:
            check_same(got, joined([part[name] for part in parts]))


@every_size
@every_path
def test_views_and_kinds_of_tensors(backend, size, path):
    backend.run(gather_views, path, size=size)


class Tagged(torch.Tensor):
    """A subclass without behaviour of its own."""


def gather_subclass():
    PartialState()
    own = tensor("float32", (2, 3), here.rank).as_subclass(Tagged)
    got = gather(own)
    parts = [tensor("float32", (2, 3), rank) for rank in range(here.size)]
    assert values.bits(got) == values.bits(joined(parts))


def test_subclasses(backend):
    backend.run(gather_subclass, size=2)


def gather_containers(path):
    use_path(path)

    def tree(rank):
        return values.containers(lambda i: tensor("int32", (i + 1, 2), rank * 10 + i))

    trees = [tree(rank) for rank in range(here.size)]
    for name, own in trees[here.rank].items():
        got = gather(own)
        if here.size == 1:
            check_same(got, own)
        else:
            check_same(got, join_trees([part[name] for part in trees]))


def join_trees(parts):
    """The tree of the first part with every leaf joined over all parts."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return joined(parts)
    if hasattr(first, "_fields"):
        return type(first)(*map(join_trees, zip(*parts, strict=True)))
    if isinstance(first, (list, tuple)):
        return type(first)(map(join_trees, map(list, zip(*parts, strict=True))))
    return type(first)({key: join_trees([p[key] for p in parts]) for key in first})


@every_size
@every_path
def test_every_container(backend, size, path):
    backend.run(gather_containers, path, size=size)


def gather_uneven(path):
    use_path(path)
    for tail in [(), (3,), (0,), (70_000,)]:
        for rows in [(0, 1, 2, 3), (3, 0, 0, 0), (0, 0, 5, 0), (7, 1, 1, 100)]:

            def make(rank, tail=tail, rows=rows):
                return tensor("int16", (rows[rank % 4], *tail), rank)

            check_same(gather(make(here.rank)), gathered(make, here.size))


@every_size
@every_path
def test_first_dimensions_may_differ(backend, size, path):
    backend.run(gather_uneven, path, size=size)


def gather_many():
    PartialState()
    parts = [
        {str(i): tensor("float32", (i % 7, 3), rank * 1000 + i) for i in range(300)}
        for rank in range(here.size)
    ]
    mixed = [
        [
            tensor("bool", (2,), rank),
            array("float64", (3,), rank),
            tensor("int8", (), 1),
        ]
        for rank in range(here.size)
    ]
    got_many, got_mixed = gather(parts[here.rank]), gather(mixed[here.rank])
    if here.size > 1:
        check_same(got_many, {k: joined([p[k] for p in parts]) for k in parts[0]})
        check_same(
            got_mixed, [joined(list(column)) for column in zip(*mixed, strict=True)]
        )


@every_size
def test_many_and_mixed_leaves(backend, size):
    backend.run(gather_many, size=size)


def gather_at_eight():
    PartialState()
    for count in (1, 7, 64, 5_000, 300_000):

        def make(rank, count=count):
            return tensor("uint8", (count + rank,), rank)

        check_same(gather(make(here.rank)), gathered(make, here.size))


def test_eight_ranks(backend):
    backend.run(gather_at_eight, size=8)


def gather_inside_autograd_modes():
    PartialState()
    source = torch.full((2,), float(here.rank), requires_grad=True)
    expected = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for mode in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with mode():
            got = gather(source)
        assert torch.equal(got, expected)
        assert not got.requires_grad
        assert got.grad_fn is None
    with torch.inference_mode():
        inner = torch.full((2,), float(here.rank))
    assert torch.equal(gather(inner), expected)


def test_autograd_modes(backend):
    backend.run(gather_inside_autograd_modes, size=2)


def gather_sizes(path, counts):
    use_path(path)
    for count in counts:
        own = torch.full((count,), here.rank + 1, dtype=torch.uint8)
        own[-1:] = 99
        got = gather(own)
        assert got.shape == (count * here.size,)
        for rank in range(here.size):
            part = got[rank * count : (rank + 1) * count]
            assert (part[:-1] == rank + 1).all(), (count, rank)
            assert (part[-1:] == 99).all(), (count, rank)


def around(*counts):
    """Every count with its neighbours, for what changes just there."""
    return sorted({c + d for c in counts for d in (-1, 0, 1) if c + d >= 0})


KIB, MIB = 1 << 10, 1 << 20
INLINE = (0, 8, 64, 176, 184, 192, 200, 208, 4096)
CHUNKS = (64 * KIB, 128 * KIB, 256 * KIB, 1 * MIB, 8 * 128 * KIB + 128 * KIB)


@every_size
@every_path
def test_payloads_around_every_threshold(backend, size, path):
    backend.run(gather_sizes, path, around(*INLINE, *CHUNKS), size=size)


@pytest.mark.parametrize("size", [2, 3])
def test_large_payloads(backend, size):
    counts = [2 * MIB, 8 * MIB + 3, 40 * MIB]
    backend.run(gather_sizes, "auto", counts, size=size)


def gather_refuses(value):
    PartialState()
    with pytest.raises(TypeError, match=r"Unsupported types .* passed to"):
        gather(value)
    assert gather(torch.ones(1)).shape == (here.size,)


@pytest.mark.parametrize("value", [3, "text", None, {"a": object}, [torch.ones(1), 2]])
def test_other_leaves_are_refused(backend, value):
    backend.run(gather_refuses, value, size=2)


def gather_refused_by_one():
    from pyaccel.utils.operations import DistributedOperationException

    PartialState()
    if here.rank == 1:
        with pytest.raises(TypeError, match="Unsupported types"):
            gather([torch.ones(1), "text"])
    else:
        with pytest.raises(DistributedOperationException, match="rank 1"):
            gather([torch.ones(1), torch.ones(1)])
    assert gather(torch.ones(1)).shape == (here.size,)


@pytest.mark.parametrize("size", [2, 3])
def test_a_leaf_that_one_rank_cannot_send(backend, size):
    backend.run(gather_refused_by_one, size=size)


def gather_odd_tensors():
    PartialState()
    odd = {
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.ones(2, device="meta"),
        "quantised": torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8),
        "nested": torch.nested.nested_tensor([torch.ones(1)], layout=torch.strided),
    }
    for name, value in odd.items():
        with pytest.raises(TypeError, match=name):
            gather(value)
        assert gather(torch.ones(1)).shape == (here.size,)


def test_tensors_without_plain_memory_are_refused(backend):
    backend.run(gather_odd_tensors, size=2)
