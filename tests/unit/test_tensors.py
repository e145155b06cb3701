"""Which tensors can travel, and that every way to read them gives the same bytes.

A communicator of one rank reads its leaves and makes its results as any other does.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from pyaccel import _C
from tests.distributed import values
from tests.distributed.paths import every_path
from tests.distributed.values import check_same, joined, tensor

pytestmark = [
    pytest.mark.usefixtures("forced"),
    # torch's words on what the tests make of it: dtypes and layouts that are new or
    # old, memory that is asked for where none is, calls that it cannot trace.
    pytest.mark.filterwarnings("ignore:(Sparse|The PyTorch API of|ComplexHalf|Access)"),
    pytest.mark.filterwarnings("ignore:torch.quantize"),
    pytest.mark.filterwarnings("ignore:Dynamo does not know"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


@pytest.fixture
def forced():
    """Leaves no path forced behind."""
    yield
    _C.force_tensor_path("auto")


def sent(value, path):
    """What a gather makes of one tensor that is read by `path`."""
    _C.force_tensor_path(path)
    return _C.comm_self().gather(value)


def numbers(dtype=torch.float32):
    return torch.arange(1, 7, dtype=torch.float32).reshape(2, 3).to(dtype)


def test_every_dtype_of_torch_is_carried_or_refused():
    found = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    named = {getattr(torch, name) for name in values.DTYPES + values.REFUSED}
    assert found == named


@every_path
@pytest.mark.parametrize("dtype", values.DTYPES)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 3)])
def test_dtypes_that_are_carried(path, dtype, shape):
    value = tensor(dtype, shape, seed=3)
    check_same(sent(value, path), joined([value]))


@every_path
@pytest.mark.parametrize("dtype", values.REFUSED)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_dtypes_that_are_refused(path, dtype, count):
    value = torch.empty(count, dtype=getattr(torch, dtype))
    with pytest.raises(TypeError, match=r"torch\.uint8|quantised"):
        sent(value, path)


@every_path
def test_views(path):
    for value in values.views(seed=2).values():
        check_same(sent(value, path), joined([value]))


@every_path
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bfloat16", "complex64"])
def test_a_negation_that_strides_do_not_show(path, dtype):
    value = torch._neg_view(numbers(getattr(torch, dtype)))
    assert value.is_contiguous()
    check_same(sent(value, path), joined([value]))
    check_same(sent(torch.nn.Parameter(value, False), path), joined([value]))


@every_path
def test_a_negation_that_torch_cannot_carry_out(path):
    with pytest.raises(NotImplementedError, match="neg"):
        sent(torch._neg_view(numbers(torch.float8_e5m2)), path)


class Plain(torch.Tensor):
    """A subclass without behaviour of its own."""


class Counting(torch.Tensor):
    """A subclass that sees every function, and changes none."""

    seen = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen += 1
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapper(torch.Tensor):
    """A subclass that holds another tensor and has no memory of its own."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        def unwrap(value):
            return value.inner if isinstance(value, Wrapper) else value

        def wrap(value):
            return cls(value) if isinstance(value, torch.Tensor) else value

        return tree_map(wrap, func(*tree_map(unwrap, args), **(kwargs or {})))


KINDS = {
    "Parameter": lambda: torch.nn.Parameter(numbers()),
    "Buffer": lambda: torch.nn.Buffer(numbers()),
    "subclass": lambda: numbers().as_subclass(Plain),
    "Parameter of a subclass": lambda: torch.nn.Parameter(numbers().as_subclass(Plain)),
    "__torch_function__": lambda: numbers().as_subclass(Counting),
    "of many dimensions": lambda: numbers().reshape(1, 2, 3, *[1] * 70),
    "elements that share memory": lambda: torch.arange(6.0).as_strided((3, 2), (1, 1)),
    "from a larger storage": lambda: torch.arange(9.0)[3:],
}


@every_path
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_are_carried(path, kind):
    value = KINDS[kind]()
    got = sent(value, path)
    assert type(got) is torch.Tensor
    assert not got.requires_grad
    check_same(got, joined([value]))


@every_path
def test_tensors_of_inference_mode(path):
    with torch.inference_mode():
        value = numbers()
        check_same(sent(value, path), value)
    check_same(sent(value, path), numbers())


def freed():
    value = numbers()
    value.untyped_storage().resize_(0)
    return value


def fake():
    with FakeTensorMode() as mode:
        return mode.from_tensor(numbers())


def nested(layout):
    return torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=layout)


NO_MEMORY = "no memory of its own"
REFUSED = {
    "coo": (lambda: numbers().to_sparse(), "sparse_coo"),
    "csr": (lambda: numbers().to_sparse_csr(), "sparse_csr"),
    "bsr": (lambda: torch.eye(4).to_sparse_bsr((2, 2)), "sparse_bsr"),
    "mkldnn": (lambda: numbers().to_mkldnn(), "_mkldnn"),
    "nested": (lambda: nested(torch.strided), "nested"),
    "jagged": (lambda: nested(torch.jagged), "nested"),
    "meta": (lambda: torch.ones(2, device="meta"), "meta"),
    "fake": (fake, NO_MEMORY),
    "wrapper": (lambda: Wrapper(numbers()), NO_MEMORY),
    "functional": (lambda: torch._to_functional_tensor(numbers()), NO_MEMORY),
    "freed": (freed, NO_MEMORY),
    "zero": (lambda: torch._efficientzerotensor((2, 3)), NO_MEMORY),
}


@every_path
@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_that_are_refused(path, kind):
    make, why = REFUSED[kind]
    with pytest.raises(TypeError, match=why):
        sent(make(), path)


TRANSFORMS = {
    "vmap": torch.vmap,
    "grad": torch.func.grad,
    "functionalize": torch.func.functionalize,
    "jvp": lambda function: lambda x: torch.func.jvp(function, (x,), (x,)),
}


def sent_or_refused(value, path):
    """As `sent`; None where a mode lets nothing be made by any but the quickest way."""
    try:
        return sent(value, path)
    except (TypeError, RuntimeError) as error:
        refusal = str(error)
    assert path != "exchange"
    assert "memory" in refusal
    return None


@every_path
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_inside_a_transform(path, transform):
    """The transform's own tensors are refused; those of outside give their values."""
    outside, got = numbers(), []

    def function(inside):
        with pytest.raises(TypeError, match=NO_MEMORY):
            sent(inside, path)
        got.append(sent_or_refused(outside, path))
        return inside.sum()

    TRANSFORMS[transform](function)(numbers())
    if got[0] is not None:
        check_same(got[0], outside)


@every_path
def test_inside_a_mode_that_fakes(path):
    outside = numbers()
    with FakeTensorMode(allow_non_fake_inputs=True):
        with pytest.raises(TypeError, match=NO_MEMORY):
            sent(torch.ones(3), path)
        got = sent_or_refused(outside, path)
    if got is not None:
        check_same(got, outside)


@every_path
def test_inside_a_compiled_function(path):
    @torch.compile(backend="eager")
    def function(value):
        return sent(value * 2, path) + 1

    assert torch.equal(function(numbers()), numbers() * 2 + 1)


PATHS = """
    import torch
    {change}
    from pyaccel import _C
    info = _C.build_info()
    value = torch._neg_view(torch.ones(2))
    results = []
    for path in ("auto", "exchange", "shim", "attributes"):
        _C.force_tensor_path(path)
        assert _C.comm_self().gather(value).tolist() == [-1, -1]
        results.append(_C.build_info()["tensor_path"])
    print(info["tensor_paths"]["exchange"], info["tensor_paths"]["shim"], *results)
"""
NO_SHIM = "del torch._C._aoti.unsafe_alloc_void_ptr_from_tensor"
NO_TABLE = "del torch.Tensor.__dlpack_c_exchange_api__"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", "True True exchange exchange shim attributes"),
        (NO_SHIM, "True False exchange exchange exchange attributes"),
        (NO_TABLE, "False True shim shim shim attributes"),
        (f"{NO_SHIM}; {NO_TABLE}", "False False" + " attributes" * 4),
    ],
)
def test_a_way_that_torch_lacks_is_reported(fresh, change, said):
    result = fresh.python(PATHS.format(change=change)).check()
    assert result.stdout.split() == said.split()
