"""Random nested structures as plain descriptions, which every rank builds alike but for
what each rank has of its own."""

from collections import OrderedDict, UserDict
from typing import NamedTuple

from hypothesis import strategies as st

from tests.distributed.values import Pair, array, tensor

# NumPy's names too, so that each can be an array.
SHARED = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32"]
TORCH_ONLY = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128"]
TORCH_ONLY += ["uint16", "uint32", "uint64", "float64"]

LARGEST = 4  # ranks


class Leaf(NamedTuple):
    dtype: str
    rows: tuple  # of each rank; None: no dimensions
    tail: tuple
    layout: str

    def shape(self, rank):
        return () if self.rows is None else (self.rows[rank], *self.tail)

    def build(self, rank, seed):
        shape = self.shape(rank)
        if self.layout == "array":
            return array(self.dtype, shape, seed + rank)
        if self.layout == "transposed" and len(shape) > 1:
            return tensor(self.dtype, shape[::-1], seed + rank).permute(
                *reversed(range(len(shape)))
            )
        if self.layout == "every second row" and shape:
            return tensor(self.dtype, (2 * shape[0], *shape[1:]), seed + rank)[::2]
        return tensor(self.dtype, shape, seed + rank)


class Node(NamedTuple):
    kind: str
    children: tuple


BUILD = {
    "list": list,
    "tuple": tuple,
    "pair": lambda items: Pair(items, len(items) * [[]]),
    "dict": lambda items: {f"k{i}": item for i, item in enumerate(items)},
    "OrderedDict": lambda items: OrderedDict(enumerate(items)),
    "UserDict": lambda items: UserDict(enumerate(items)),
}


def build(tree, make):
    """The structure with `make(leaf, number)` in the place of each described leaf."""
    count = iter(range(10_000))

    def walk(one):
        if isinstance(one, Leaf):
            return make(one, next(count))
        return BUILD[one.kind]([walk(child) for child in one.children])

    return walk(tree)


def leaves_of(tree):
    """The described leaves, in order."""
    found = []
    build(tree, lambda leaf, _: found.append(leaf))
    return found


def leaves(even, dtypes=None):
    """Descriptions of leaves; with `even` all ranks have as many rows."""
    each = st.integers(0, 3)
    rows = each.map(lambda n: (n,) * LARGEST) if even else st.tuples(*[each] * LARGEST)
    tails = st.lists(st.integers(0, 3), max_size=2).map(tuple)
    layouts = st.sampled_from(["plain", "transposed", "every second row"])
    named = dtypes or SHARED + TORCH_ONLY
    tensors = st.builds(Leaf, st.sampled_from(named), st.none() | rows, tails, layouts)
    if dtypes:
        return tensors
    arrays = st.builds(
        Leaf, st.sampled_from(SHARED), st.none() | rows, tails, st.just("array")
    )
    large = st.builds(
        Leaf,
        st.sampled_from(["uint8", "float32"]),
        st.just((70_000,) * LARGEST),
        st.just(()),
        st.just("plain"),
    )
    return st.one_of(tensors, tensors, arrays, large)


def trees(even, dtypes=None):
    """Descriptions of structures."""
    return st.recursive(
        leaves(even, dtypes),
        lambda child: st.builds(
            Node, st.sampled_from(sorted(BUILD)), st.lists(child, max_size=4).map(tuple)
        ),
        max_leaves=12,
    )
