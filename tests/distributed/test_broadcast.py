"""`broadcast`: the root's values arrive in the other ranks' own tensors."""

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.utils.operations import broadcast
from tests.distributed import values
from tests.distributed.paths import every_path, use_path
from tests.distributed.values import array, bits, check_same, tensor
from tests.harness import every_size, here

KIB, MIB = 1 << 10, 1 << 20


def broadcast_shapes(path, dtype, shapes):
    use_path(path)
    for shape in shapes:
        for root in range(here.size):
            own = tensor(dtype, shape, here.rank)
            got = broadcast(own, from_process=root)
            assert got is own
            check_same(own, tensor(dtype, shape, root))


@every_size
@every_path
@pytest.mark.parametrize("dtype", values.DTYPES)
def test_every_dtype(backend, size, path, dtype):
    shapes = [(), (1,), (3, 5), (0,), (0, 3), (2, 1, 300)]
    backend.run(broadcast_shapes, path, dtype, shapes, size=size)


def broadcast_arrays(dtype):
    PartialState()
    for shape in [(), (1,), (3, 5), (0, 3), (20_000,)]:
        own = array(dtype, shape, here.rank)
        got = broadcast(own, from_process=here.size - 1)
        assert got is own
        check_same(own, array(dtype, shape, here.size - 1))


@every_size
@pytest.mark.parametrize("dtype", values.NUMPY_DTYPES)
def test_every_numpy_dtype(backend, size, dtype):
    backend.run(broadcast_arrays, dtype, size=size)


def strided_pairs(seed):
    """A view to receive into, and the tensor whose other elements must stay."""
    base = tensor("int32", (6, 8), seed)
    images = tensor("int32", (2, 3, 4, 5), seed)
    last = images.to(memory_format=torch.channels_last)
    return {
        "transposed": (base.t(), base),
        "every second row": (base[::2], base),
        "a column": (base[:, 3], base),
        "channels_last": (last, last),
        "part of channels_last": (last[:, 1:], last),
    }


def broadcast_into_views(path):
    use_path(path)
    for name in strided_pairs(0):
        view, base = strided_pairs(here.rank)[name]
        expected_view, expected_base = strided_pairs(here.rank)[name]
        expected_view.copy_(strided_pairs(0)[name][0])
        assert broadcast(view) is view
        check_same(view, expected_view)
        check_same(base, expected_base)


@every_size
@every_path
def test_views_receive_their_own_elements_only(backend, size, path):
    backend.run(broadcast_into_views, path, size=size)


def broadcast_into_lazy_views():
    PartialState()
    numbers = torch.arange(6, dtype=torch.float32) + 1
    source = torch.complex(numbers, -numbers) * (here.rank + 1)
    expected = torch.complex(numbers, -numbers)
    view = source.clone().conj()
    broadcast(view)
    assert torch.equal(view.resolve_conj(), expected.conj())
    view = source.clone().conj().imag
    broadcast(view)
    assert torch.equal(view.resolve_neg(), expected.conj().imag)
    view = torch._neg_view(numbers * (here.rank + 1))
    broadcast(view)
    assert torch.equal(view.resolve_neg(), -numbers)


@every_size
def test_conjugate_and_negative_views(backend, size):
    backend.run(broadcast_into_lazy_views, size=size)


def broadcast_strided_arrays():
    PartialState()
    base = np.arange(24.0).reshape(4, 6) + 100 * here.rank
    view = base[::2, ::-3]
    expected = base.copy()
    expected[::2, ::-3] = np.arange(24.0).reshape(4, 6)[::2, ::-3]
    assert broadcast(view) is view
    assert np.array_equal(base, expected)


@every_size
def test_strided_arrays(backend, size):
    backend.run(broadcast_strided_arrays, size=size)


def broadcast_gradients():
    PartialState()
    parameter = torch.nn.Parameter(torch.full((3,), float(here.rank)))
    assert broadcast(parameter) is parameter
    assert torch.equal(parameter.data, torch.zeros(3))
    assert parameter.requires_grad
    needs = torch.full((3,), float(here.rank), requires_grad=True)
    broadcast(needs, from_process=here.size - 1)
    assert torch.equal(needs.detach(), torch.full((3,), here.size - 1.0))


@every_size
def test_parameters(backend, size):
    backend.run(broadcast_gradients, size=size)


def broadcast_containers(path):
    use_path(path)

    def tree(rank):
        return values.containers(lambda i: tensor("int32", (i + 1, 2), rank * 10 + i))

    root = here.size - 1
    for name, own in tree(here.rank).items():
        leaves = list(leaves_of(own))
        got = broadcast(own, from_process=root)
        check_same(got, tree(root)[name])
        # The leaves are the caller's own objects in a container of the same kind.
        assert all(a is b for a, b in zip(leaves_of(got), leaves, strict=True))


def leaves_of(tree):
    if isinstance(tree, torch.Tensor):
        yield tree
    else:
        for child in tree.values() if hasattr(tree, "values") else tree:
            yield from leaves_of(child)


@every_size
@every_path
def test_every_container(backend, size, path):
    backend.run(broadcast_containers, path, size=size)


def broadcast_sizes(counts, roots):
    PartialState()
    for count in counts:
        for root in roots:
            own = torch.full((count,), here.rank, dtype=torch.uint8)
            own[-1:] = 100 + here.rank
            broadcast(own, from_process=root)
            assert (own[:-1] == root).all(), (count, root)
            assert (own[-1:] == 100 + root).all(), (count, root)


INLINE = (0, 8, 64, 176, 184, 192, 200, 208, 4096)
CHUNKS = (64 * KIB, 128 * KIB, 256 * KIB, 1 * MIB, 8 * 128 * KIB + 128 * KIB)


@every_size
def test_payloads_around_every_threshold(backend, size):
    counts = {c + d for c in INLINE + CHUNKS for d in (-1, 0, 1) if c + d >= 0}
    roots = sorted({0, size - 1})
    backend.run(broadcast_sizes, sorted(counts), roots, size=size)


@pytest.mark.parametrize("size", [2, 3])
def test_large_payloads(backend, size):
    backend.run(broadcast_sizes, [8 * MIB + 3, 40 * MIB], [1], size=size)


def test_eight_ranks(backend):
    backend.run(broadcast_sizes, [1, 300, 300_000], [0, 5], size=8)


def broadcast_many():
    PartialState()
    own = [tensor("float32", (i % 5, 3), here.rank * 1000 + i) for i in range(300)]
    broadcast(own, from_process=here.size - 1)
    for i, leaf in enumerate(own):
        seed = (here.size - 1) * 1000 + i
        assert bits(leaf) == bits(tensor("float32", (i % 5, 3), seed))


@every_size
def test_many_leaves(backend, size):
    backend.run(broadcast_many, size=size)


def broadcast_into_read_only():
    from pyaccel.utils.operations import DistributedOperationException

    PartialState()
    own = np.full(3, here.rank)
    if here.rank == 1:
        own.flags.writeable = False
        with pytest.raises((ValueError, TypeError), match="read-only|writ"):
            broadcast(own)
        assert (own == 1).all()
    else:
        with pytest.raises(DistributedOperationException, match="rank 1"):
            broadcast(own)
    assert broadcast(torch.tensor([here.rank])).item() == 0


def test_an_array_that_cannot_be_written(backend):
    backend.run(broadcast_into_read_only, size=3)


def broadcast_into_shared_elements():
    from pyaccel.utils.operations import DistributedOperationException

    PartialState()
    numbers = np.full(6, here.rank)
    for own in (
        torch.full((1, 3), here.rank).expand(4, 3),
        torch.full((6,), here.rank).as_strided((3, 2), (1, 1)),
        np.lib.stride_tricks.sliding_window_view(numbers, 3, writeable=True),
    ):
        if here.rank == 0:
            # Sending one is no mistake; another rank cannot receive into one.
            with pytest.raises(DistributedOperationException, match="rank 1"):
                broadcast(own)
        else:
            with pytest.raises(ValueError, match="share memory"):
                broadcast(own)
        assert (own == here.rank).all()
        assert broadcast(torch.tensor([here.rank])).item() == 0


def test_a_tensor_whose_elements_share_memory(backend):
    backend.run(broadcast_into_shared_elements, size=2)


def broadcast_from(root):
    PartialState()
    with pytest.raises(ValueError, match=str(root)):
        broadcast(torch.ones(1), from_process=root)
    assert broadcast(torch.tensor([here.rank])).item() == 0


@pytest.mark.parametrize("root", [-1, 2, 1 << 40])
def test_a_root_that_is_no_rank(backend, root):
    backend.run(broadcast_from, root, size=2)
