"""Every name of `utils.operations`, beside accelerate's: alone, for two and for three,
with debug mode off and on."""

import importlib
from functools import partial

import pytest

from tests.parity.cases import compare

START = """
from collections import OrderedDict, UserDict, defaultdict, namedtuple
import warnings
from transformers import BatchEncoding
from transformers.modeling_outputs import BaseModelOutput

warnings.simplefilter("ignore")
ops = module("utils.operations")
accelerator = importlib.import_module(library).Accelerator(cpu=True)
state = importlib.import_module(library).PartialState()
rank, size = state.process_index, state.num_processes
Pair = namedtuple("Pair", "left right")
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32",
          "uint64", "float16", "bfloat16", "float32", "float64", "float8_e5m2",
          "float8_e4m3fn", "complex64", "complex128"]


def with_text(name, function, *args, **kwargs):
    # Here the text is accelerate's, too.
    try:
        results[name] = repr(function(*args, **kwargs))
    except Exception as error:
        results[name] = f"{type(error).__name__}: {error} ({error.__cause__})"


def own(dtype, *shape, of=None):
    numbers = torch.arange(int(np.prod(shape))).reshape(shape)
    numbers = numbers + (rank if of is None else of)
    return (numbers % 2 if dtype == "bool" else numbers).to(getattr(torch, dtype))


def same(got, expected):
    # True if all is right; else what differs, which is short.
    if got.dtype != expected.dtype or got.shape != expected.shape:
        return got.dtype if got.dtype != expected.dtype else list(got.shape)
    if isinstance(got, np.ndarray):
        return got.tolist() == expected.tolist()
    wide = torch.complex128 if got.is_complex() else torch.float64
    return torch.equal(got.to(wide), expected.to(wide))
"""

ALONE = (
    START
    + """
half, double = torch.ones(2).half(), torch.ones(2).double()
tree = {"a": [half, (double, "x")], "b": Pair(torch.tensor(3), None)}
containers = [
    [1, 2], (1, 2), {"a": 1}, Pair(1, [2]), OrderedDict(b=1, a=2), UserDict(a=1), [],
    {}, (), {"a": {"b": ({}, [1])}}, BatchEncoding({"a": 1}), 1, "x", None, {1},
    range(2),
    BaseModelOutput(last_hidden_state=torch.ones(1)), [[]], b"x", 1.5,
]
for made in containers:
    case(f"recursively_apply {made!r}", ops.recursively_apply, lambda one: one + 1,
         made, test_type=lambda one: type(one) is int)
    case(f"strict {made!r}", ops.recursively_apply, lambda one: one + 1, made,
         test_type=lambda one: type(one) is int, error_on_other_type=True)
    case(f"send_to_device {made!r}", ops.send_to_device, made, "cpu")
    case(f"find_batch_size {made!r}", ops.find_batch_size, made)
    case(f"ignorant_find_batch_size {made!r}", ops.ignorant_find_batch_size, made)
    case(f"find_device {made!r}", ops.find_device, made)
    case(f"concatenate {made!r}", ops.concatenate, [made])
    case(f"concatenate two {made!r}", ops.concatenate, [made, made])
    case(f"is_namedtuple {made!r}", ops.is_namedtuple, made)
    case(f"is_torch_tensor {made!r}", ops.is_torch_tensor, made)
    case(f"reduce {made!r}", ops.reduce, made)
    case(f"pad_across_processes {made!r}", ops.pad_across_processes, made)
for made in [[1, 2], {"a": 1}, "x", [], ()]:
    case(f"gather {made!r}", ops.gather, made)
    case(f"gather_object {made!r}", ops.gather_object, made)
    case(f"broadcast {made!r}", ops.broadcast, made)
case("a defaultdict", ops.recursively_apply, lambda one: one, defaultdict(list, a=1))
case("arguments", ops.recursively_apply, lambda one, two, three: one + two + three,
     {"a": torch.ones(1)}, 2, three=3)
with_text("refused", ops.recursively_apply, len, ["x"], error_on_other_type=True)
case("convert_to_fp32", ops.convert_to_fp32, tree)
case("convert_outputs_to_fp32", ops.convert_outputs_to_fp32(lambda: tree))
case("pickled", ops.ConvertOutputsToFp32(len).__getstate__)
case("get_data_structure", ops.get_data_structure, tree)
case("get_shape", ops.get_shape, tree)
case("initialize_tensors", lambda: ops.get_data_structure(
    ops.initialize_tensors(ops.get_data_structure(tree["a"]))))
case("initialize_tensors, no dimensions", lambda: ops.get_shape(
    ops.initialize_tensors(ops.get_data_structure(torch.tensor(1)))))
case("is_tensor_information", lambda: [
    ops.is_tensor_information(one)
    for one in (u.TensorInformation([1], torch.int8), 1)])
case("is_torch_xpu_tensor", ops.is_torch_xpu_tensor, half)
for dtype in DTYPES:
    case(f"listify {dtype}", ops.listify, [own(dtype, 2)])
case("find_batch_size", ops.find_batch_size, tree)
case("find_batch_size, no dimensions", ops.find_batch_size, torch.tensor(1))
case("find_batch_size of an array", ops.find_batch_size, np.ones(3))
case("find_device", ops.find_device, tree)
case("honor_type", lambda: [ops.honor_type(one, iter([1, 2])) for one in (
    [], (), Pair(0, 0))])
case("slice_tensors", ops.slice_tensors, tree, slice(1))
case("concatenate", ops.concatenate, [{"a": [half]}, {"a": [half]}])
case("concatenate, another dimension", ops.concatenate, [torch.ones(1, 2)] * 2, 1)
case("concatenate nothing", ops.concatenate, [])
case("concatenate of other keys", ops.concatenate, [{"a": half}, {"b": half}])
for items, processes in [(1, 1), (2, 1), (4, 2), (3, 4), (1, 4), (2, 2), (8, 4),
                         (9, 4)]:
    case(f"pad_input_tensors {items} for {processes}", ops.pad_input_tensors,
         torch.arange(items * 2.0).reshape(items, 2) + 1, items, processes)
case("pad_input_tensors of a text", ops.pad_input_tensors, "x", 1, 2)
sent = {"a": half, "b": [half], "c": 1}
for skip in [None, "a", ["a", "b"], "z"]:
    case(f"send_to_device, {skip} skipped", ops.send_to_device, sent, "meta",
         skip_keys=skip)
case("send_to_device nowhere", ops.send_to_device, sent, "nowhere")
case("send_to_device, the same", lambda: ops.send_to_device(half, "cpu") is half)


class Movable:
    def to(self, device):
        return ["to", device]


case("an object with a method", ops.send_to_device, [Movable()], 3, non_blocking=True)


@ops.verify_operation
def verified(tensor):
    return tensor


@ops.chained_operation
def chained():
    raise ops.DistributedOperationException("within")


case("verify_operation", verified, 1)
with_text("chained_operation", lambda: chained())
case("names", lambda: [verified.__name__, chained.__name__])
case("numbers of dtypes", lambda: [ops.TENSOR_TYPE_TO_INT, ops.TENSOR_INT_TO_DTYPE])
case("errors", lambda: [ops.DistributedOperationException.__mro__[1],
                        ops.CannotPadNestedTensorWarning.__mro__[1]])


def whole(enabled):
    with ops.GatheredParameters([torch.nn.Parameter(half)], enabled=enabled):
        return "inside"


case("GatheredParameters", lambda: [whole(True), whole(False)])
for reduction in ["sum", "mean", "max", "none"]:
    case(f"reduce, {reduction}", ops.reduce, tree["a"][0], reduction)
case("reduce, a mean of integers", ops.reduce, torch.tensor([1, 2]))
case("reduce, another word", ops.reduce, half, "avg")
case("reduce, scaled", ops.reduce, half, "sum", 2.0)
case("pad_across_processes", ops.pad_across_processes, {"a": half}, 0, 3, True)
case("gather", lambda: ops.gather(half) is half)
case("broadcast", lambda: ops.broadcast(half) is half)
case("broadcast from nobody", ops.broadcast, half, 7)
case("broadcast_object_list", ops.broadcast_object_list, [1, "x"])
case("broadcast_object_list of a tuple", ops.broadcast_object_list, (1, "x"))
finish()
"""
)

SEVERAL = (
    START
    + """

def every(dtype, *shape):
    return [own(dtype, *shape, of=each) for each in range(size)]


def reduced(parts, reduction):
    wide = torch.stack([one.to(torch.complex128) for one in parts])
    if reduction == "max":
        return wide.real.max(0).values.to(parts[0].dtype)
    whole = wide.sum(0) / (size if reduction == "mean" else 1)
    return (whole if parts[0].is_complex() else whole.real).to(parts[0].dtype)


# What pads tells more than what is long enough.
role = "the longest" if rank == size - 1 else "shorter"
for dtype in DTYPES:
    parts = every(dtype, 2, 3)
    joined = torch.cat([one.view(torch.uint8).reshape(2, -1) for one in parts])
    joined = joined.reshape(-1).view(parts[0].dtype).reshape(-1, 3)
    case(f"gather {dtype}", lambda: same(ops.gather(parts[rank]), joined))
    case(f"broadcast {dtype}", lambda: same(
        ops.broadcast(parts[rank].clone(), size - 1), parts[-1]))
    for reduction in ["sum", "max", "mean"]:
        case(f"reduce {dtype}, {reduction}", lambda: same(
            ops.reduce(parts[rank], reduction), reduced(parts, reduction)))
    case(f"pad {dtype}, {role}", lambda: same(
        ops.pad_across_processes(own(dtype, rank + 1)),
        torch.cat([own("float64", rank + 1) % (2 if dtype == "bool" else 99),
                   torch.zeros(size - rank - 1)]).to(getattr(torch, dtype))))
leaf = torch.ones(2, 3) * rank
tree = {"a": [leaf, (leaf[0], Pair(leaf[:, 0], []))], "b": OrderedDict(x=leaf.clone())}
case("gather", ops.gather, tree)
case("gather of no dimensions", ops.gather, torch.tensor(rank))
case("gather of no rows", lambda: list(ops.gather(torch.ones(0, 3)).shape))
case("gather of no columns", lambda: list(ops.gather(torch.ones(2, 0)).shape))
case("gather, not contiguous", ops.gather, leaf.t())
case("gather of a parameter", ops.gather, torch.nn.Parameter(leaf))
case("gather of nothing", ops.gather, [])
case("gather of a ModelOutput", ops.gather, BaseModelOutput(last_hidden_state=leaf))
case("gather of a text", ops.gather, {"a": "x"})
with_text("gather, refused", ops.gather, ["x"])
case("gather of an array", lambda: same(
    ops.gather(np.arange(2) + rank),
    np.arange(2 * size) // 2 + np.arange(2 * size) % 2))
for what in [[rank], [rank] * rank, (rank, "x"), [], [[rank]], [None]]:
    case(f"gather_object, {what}", ops.gather_object, what)
for what in ["ab", {"a": 1}, 3, None]:
    case(f"gather_object, {what!r}", lambda: sorted(
        {str(one) for one in ops.gather_object(what)}))
case("broadcast", ops.broadcast, tree)
case("broadcast, the same", lambda: ops.broadcast(leaf) is leaf)
case("broadcast of no dimensions", ops.broadcast, torch.tensor(rank), 1)
case(f"broadcast into columns, {role}", lambda: same(
    ops.broadcast((torch.arange(12.0).reshape(3, 4) * rank)[:, ::2], size - 1),
    (torch.arange(12.0).reshape(3, 4) * (size - 1))[:, ::2]))
with_text("broadcast, refused", ops.broadcast, ["x"])
case("broadcast_object_list", ops.broadcast_object_list, [rank, {"r": rank}], 1)
case("reduce", ops.reduce, tree)
case("reduce to the same", lambda: ops.reduce(leaf) is leaf)
case("reduce of no dimensions", ops.reduce, torch.tensor(1.0 + rank), "sum")
ones = torch.ones(1)
for reduction, expected in [("none", 1), ("min", 1), ("avg", size)]:
    case(f"reduce, {reduction}", lambda: (
        ops.reduce(ones, reduction).item() == expected))
case("reduce, scaled", lambda: ops.reduce(ones, "sum", 2.0).item() / size)
with_text("reduce, refused", ops.reduce, ["x"])
rows = torch.ones(rank + 1, 2)
for dim in [0, -2, 1, -1, 2, -3]:
    case(f"pad, dim {dim}", ops.pad_across_processes, rows, dim)
case("pad, the other dimension", ops.pad_across_processes, rows.t(), 1, 7)
case("pad first", ops.pad_across_processes, [rows, {"a": rows}], 0, -1, True)
case("pad of nothing", ops.pad_across_processes, torch.ones(0))
case("pad, full", lambda: ops.pad_across_processes(leaf) is leaf)
case("pad of no dimensions", ops.pad_across_processes, torch.tensor(rank))
case(f"pad bytes with -1, {role}", lambda: (
    ops.pad_across_processes(own("uint8", rank + 1), 0, -1).dtype))
case(f"pad integers with 0.5, {role}", lambda: (
    ops.pad_across_processes(own("int64", rank + 1), 0, 0.5).dtype))
case(f"pad booleans, {role}", lambda: (
    ops.pad_across_processes(own("bool", rank + 1), 0, True).dtype))
nested = torch.nested.nested_tensor([torch.ones(2)])
case("pad a nested tensor", lambda: ops.pad_across_processes(nested) is nested)
with_text("pad, refused", ops.pad_across_processes, ["x"])
case("send_to_device", ops.send_to_device, tree, "cpu")


def different(function, *args):
    # In debug mode only: without it accelerate aborts or waits for ever.
    if state.debug:
        with_text(f"{function.__name__} of different shapes", function, *args)


@ops.verify_operation
def verified(tensor):
    return "not compared"


different(ops.gather, torch.ones(rank + 1))
different(ops.gather, {"a": [torch.ones(2)], "b": torch.ones(rank, 2)})
different(ops.reduce, torch.ones(rank + 1))
different(ops.broadcast, torch.ones(2, rank + 1))
different(ops.pad_across_processes, torch.ones([1] * (rank + 1)))
different(verified, torch.ones(rank + 1))
different(ops.gather, torch.ones(2, device="meta"))
case("after that", ops.gather, torch.tensor([rank]))
finish()
state.wait_for_everyone()
# After a refused dtype a thread of gloo may be left, which would abort the exit.
os._exit(0)
"""
)


def test_no_name_is_missing():
    theirs = vars(importlib.import_module("accelerate.utils.operations"))
    ours = importlib.import_module("pyaccel.utils.operations")
    defined = {
        name
        for name, value in theirs.items()
        if getattr(value, "__module__", None) == "accelerate.utils.operations"
        or name.isupper()
    }
    constants = {"TORCH_DISTRIBUTED_OPERATION_TYPES"}  # of utils.constants
    public = {name for name in defined if not name.startswith("_")} - constants
    assert len(public) > 30
    assert public <= set(ours.__all__)


@pytest.mark.parametrize("debug", ["0", "1"])
def test_alone(fresh, tmp_path, debug):
    run = partial(fresh.python, env={"ACCELERATE_DEBUG_MODE": debug})
    compare(run, ALONE, tmp_path, "alone", part="operations")


@pytest.mark.parametrize("debug", ["0", "1"])
@pytest.mark.parametrize("size", [2, 3])
def test_several(fresh, tmp_path, size, debug):
    env = {"ACCELERATE_DEBUG_MODE": debug}
    run = partial(fresh.torchrun, size=size, env=env)
    case = "several, debug" if debug == "1" else "several"
    compare(run, SEVERAL, tmp_path, case, size=size, part="operations")
