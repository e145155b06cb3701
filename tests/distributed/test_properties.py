"""Random structures, dtypes, shapes, arguments and sizes, compared with a model in
plain Python and torch, and with accelerate where it is right; debug mode off and on."""

import random

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from pyaccel import PartialState
from pyaccel.utils.operations import (
    DistributedOperationException,
    broadcast,
    copy_tensor_to_devices,
    gather,
    gather_object,
    pad_across_processes,
    reduce,
)
from tests.distributed.models import padded, reduced, refused
from tests.distributed.trees import build, leaves_of, trees
from tests.distributed.values import check_same, joined, same_numbers, tensor
from tests.harness import SIZES, here

# The same examples every time, so that a failure of one run is one of the next.
quick = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[
        Phase.generate
    ],  # making a failure smaller would take a group for each step
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
sizes = st.sampled_from(SIZES)
seeds = st.integers(0, 10_000)
debug_modes = st.sampled_from(["0", "1"])


def run(backend, function, *args, size, debug="0"):
    # Alone there is one way only.
    ranks = backend.ranks.run if size == 1 else backend.run
    return ranks(function, *args, size=size, env={"ACCELERATE_DEBUG_MODE": debug})


def own_and_all(tree, seed):
    """This rank's structure, and a function from a leaf's number to all ranks' own."""
    described = leaves_of(tree)

    def parts(number):
        leaf = described[number]
        return [leaf.build(rank, seed + 10 * number) for rank in range(here.size)]

    return build(tree, lambda _, number: parts(number)[here.rank]), parts


def in_debug_mode_refused(tree, call):
    """Whether shapes differ in debug mode, which is an error then."""
    shapes = [
        build(tree, lambda leaf, _, rank=rank: list(leaf.shape(rank)))
        for rank in range(here.size)
    ]
    if not PartialState().debug or all(one == shapes[0] for one in shapes):
        return False
    lines = "\n  - ".join(f"Process {rank}: {one}" for rank, one in enumerate(shapes))
    with pytest.raises(DistributedOperationException) as caught:
        call()
    assert str(caught.value).endswith(f"Input shapes:\n  - {lines}")
    return True


def gather_tree(tree, seed, dst):
    own, parts = own_and_all(tree, seed)
    root = None if dst is None else dst % here.size
    if in_debug_mode_refused(tree, lambda: gather(own, dst=root)):
        return
    got = gather(own, dst=root)
    if here.size == 1:
        assert got is own
    elif root in (None, here.rank):
        check_same(got, build(tree, lambda _, number: joined(parts(number))))
    else:
        assert got is None


@quick
@given(trees(even=False), seeds, st.none() | st.integers(0, 3), sizes, debug_modes)
def test_gather(backend, tree, seed, dst, size, debug):  # noqa: PLR0917
    run(backend, gather_tree, tree, seed, dst, size=size, debug=debug)


def broadcast_tree(tree, seed, root):
    own, parts = own_and_all(tree, seed)
    got = broadcast(own, root % here.size)
    check_same(got, build(tree, lambda _, number: parts(number)[root % here.size]))
    check_same(own, got)


@quick
@given(trees(even=True), seeds, st.integers(0, 3), sizes, debug_modes)
def test_broadcast(backend, tree, seed, root, size, debug):  # noqa: PLR0917
    run(backend, broadcast_tree, tree, seed, root, size=size, debug=debug)


def reduce_tree(tree, seed, reduction, scale):
    described = [leaf._replace(layout="plain") for leaf in leaves_of(tree)]
    tensors = [
        [leaf.build(rank, seed + i) for rank in range(here.size)]
        for i, leaf in enumerate(described)
    ]
    own = build(tree, lambda _, number: tensors[number][here.rank])
    wrong = any(
        refused(t[0].dtype, reduction)
        or (scale != 1 and not (t[0].is_floating_point() or t[0].is_complex()))
        for t in tensors
    )
    if wrong:
        with pytest.raises(ValueError, match="^reduce: "):
            reduce(own, reduction, scale)
        return
    found = []
    got = reduce(own, reduction, scale)
    build_in_order(got, found)
    for one, parts in zip(found, tensors, strict=True):
        same_numbers(one, reduced(parts, reduction, scale))


def build_in_order(tree, found):
    """Adds all tensors of a built structure, in order."""
    if isinstance(tree, torch.Tensor):
        found.append(tree)
        return
    items = tree.values() if hasattr(tree, "values") else tree
    for item in items:
        build_in_order(item, found)


@quick
@given(
    trees(even=True),
    seeds,
    st.sampled_from(["sum", "mean", "max", "min"]),
    st.sampled_from([1.0, 1.0, 0.3]),
    sizes,
    debug_modes,
)
def test_reduce(backend, tree, seed, reduction, scale, size, debug):  # noqa: PLR0917
    run(backend, reduce_tree, tree, seed, reduction, scale, size=size, debug=debug)


def pad_tree(tree, seed, dim, value, first):
    own, parts = own_and_all(tree, seed)

    def expected(_, number):
        leaf = parts(number)[here.rank]
        if -leaf.ndim <= dim < leaf.ndim:
            longest = max(part.shape[dim] for part in parts(number))
            return padded(leaf, dim, longest, value, first)
        return leaf

    got = pad_across_processes(own, dim, value, first)
    check_same(got, build(tree, expected))


@quick
@given(
    trees(even=False),
    seeds,
    st.integers(-3, 3),
    st.sampled_from([0, 1]),
    st.booleans(),
    sizes,
    debug_modes,
)
def test_pad(backend, tree, seed, dim, value, first, size, debug):  # noqa: PLR0917
    run(backend, pad_tree, tree, seed, dim, value, first, size=size, debug=debug)


def copy_tree(tree, seed, owner):
    _, parts = own_and_all(tree, seed)
    owner %= here.size
    whole = build(tree, lambda _, number: parts(number)[owner])
    got = copy_tensor_to_devices(whole if here.rank == owner else None)
    check_same(got, whole)


@quick
@given(trees(even=False), seeds, st.integers(0, 3), sizes)
def test_copy(backend, tree, seed, owner, size):
    run(backend, copy_tree, tree, seed, owner, size=size)


objects = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda child: (
        st.lists(child)
        | st.lists(child).map(tuple)
        | st.dictionaries(st.text(max_size=3), child)
    ),
    max_leaves=8,
)


def gather_objects(all_objects, dst):
    PartialState()
    root = None if dst is None else dst % here.size
    got = gather_object(all_objects[here.rank], dst=root)
    expected = []
    for own in all_objects[: here.size]:
        expected.extend(own if isinstance(own, (list, tuple)) else [own])
    if root not in (None, here.rank):
        assert got is None
    else:
        assert list(got) == expected


@quick
@given(st.tuples(*[objects] * 4), st.none() | st.integers(0, 3), sizes)
def test_objects(backend, all_objects, dst, size):
    run(backend, gather_objects, all_objects, dst, size=size)


def mixed_up(tree, other, operation_names, seed):
    """Two structures that differ, or two operations: an error of all, never a hang."""
    operations = {"gather": gather, "reduce": reduce, "broadcast": broadcast}
    last = here.rank == here.size - 1
    own = build(other if last else tree, lambda leaf, n: leaf.build(0, seed + n))
    with pytest.raises((DistributedOperationException, ValueError)):
        operations[operation_names[last]](own)
    assert gather(torch.tensor([here.rank])).tolist() == list(range(here.size))


@quick
@given(
    trees(even=True, dtypes=["float32", "int16"]),
    trees(even=True, dtypes=["float32", "int16"]),
    st.tuples(*[st.sampled_from(["gather", "reduce", "broadcast"])] * 2),
    seeds,
    st.sampled_from([2, 3, 4]),
    debug_modes,
)
def test_calls_that_differ(  # noqa: PLR0917
    backend, tree, other, operation_names, seed, size, debug
):
    plain = [(leaf.dtype, leaf.shape(0)) for leaf in leaves_of(tree)]
    others = [(leaf.dtype, leaf.shape(0)) for leaf in leaves_of(other)]
    if operation_names[0] == operation_names[1] and (
        plain == others or [d for d, _ in plain] == [d for d, _ in others]
    ):
        return
    run(backend, mixed_up, tree, other, operation_names, seed, size=size, debug=debug)


def beside_accelerate(tree, seed, reduction, dim):
    """Both libraries in the same group, one after the other."""
    from accelerate import PartialState as TheirState
    from accelerate.utils import operations as theirs

    random.seed(seed)
    TheirState._shared_state.clear()
    TheirState(cpu=True)
    try:

        def own():
            return build(
                tree,
                lambda leaf, n: (
                    (tensor("int8", leaf.shape(here.rank), seed + n).abs())
                    .to(getattr(torch, leaf.dtype))
                    .add(here.rank)
                ),
            )

        check_same(gather(own()), theirs.gather(own()))
        check_same(broadcast(own(), 1), theirs.broadcast(own(), 1))
        check_same(reduce(own(), reduction), theirs.reduce(own(), reduction))
        padded_own = pad_across_processes(own(), dim)
        check_same(padded_own, theirs.pad_across_processes(own(), dim))
        check_same(gather_object([seed]), theirs.gather_object([seed]))
    finally:
        TheirState._shared_state.clear()


@quick
@given(
    trees(even=True, dtypes=["float32", "float64"]),
    seeds,
    st.sampled_from(["sum", "mean", "max"]),
    st.integers(-3, 3),
)
def test_beside_accelerate(ranks, tree, seed, reduction, dim):
    ranks.run(
        beside_accelerate,
        tree,
        seed,
        reduction,
        dim,
        size=2,
        via="variables",
        group_env={"PYACCEL_COMM": "torch"},
    )
