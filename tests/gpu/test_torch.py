"""What the core takes from torch for a GPU is so in this version of torch."""

import ctypes

import pytest
import torch

CUDA = 2


class Device(ctypes.Structure):
    """DLPack's device."""

    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class View(ctypes.Structure):
    """DLPack's tensor, as csrc/torch/dlpack.h has it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


Borrow = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(View))
Stream = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p)
)


class Table(ctypes.Structure):
    """The exchange table."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("from_object", ctypes.c_void_p),
        ("to_object", ctypes.c_void_p),
        ("borrow", Borrow),
        ("current_stream", Stream),
    )


@pytest.fixture(scope="module")
def table():
    """The table that torch.Tensor carries."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        pytest.skip(f"torch {torch.__version__} for GPUs has no exchange table yet")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = (
        ctypes.c_void_p,
        (ctypes.py_object, ctypes.c_char_p),
    )
    return Table.from_address(pointer(capsule, b"dlpack_exchange_api"))


@pytest.mark.parametrize("offset", [0, 3])
def test_a_view_says_where_its_memory_is(table, offset):
    tensor = torch.arange(24.0, device="cuda").reshape(4, 6)[:, offset:]
    view = View()
    assert table.borrow(tensor, ctypes.byref(view)) == 0
    assert (view.device.type, view.device.id) == (CUDA, tensor.device.index)
    assert view.data + view.byte_offset == tensor.data_ptr()
    assert view.shape[: view.ndim] == list(tensor.shape)
    assert view.strides[: view.ndim] == list(tensor.stride())


def stream_of(table, device):
    found = ctypes.c_void_p()
    assert table.current_stream(CUDA, device, ctypes.byref(found)) == 0
    return found.value or 0


def test_the_current_stream_is_the_tables(table):
    assert stream_of(table, 0) == torch.cuda.current_stream(0).cuda_stream == 0
    stream = torch.cuda.Stream(0)
    with torch.cuda.stream(stream):
        assert stream_of(table, 0) == stream.cuda_stream != 0
    assert stream_of(table, 0) == 0


def test_the_current_stream_is_the_shims():
    """The way of torch before 2.10."""
    shim = ctypes.CDLL("libtorch_cuda.so").aoti_torch_get_current_cuda_stream
    found = ctypes.c_void_p()
    stream = torch.cuda.Stream(0)
    with torch.cuda.stream(stream):
        assert shim(ctypes.c_int32(0), ctypes.byref(found)) == 0
    assert found.value == stream.cuda_stream


def test_every_index_counts_as_the_runtime_counts(table):
    for index in range(torch.cuda.device_count()):
        view = View()
        assert (
            table.borrow(torch.ones(1, device=f"cuda:{index}"), ctypes.byref(view)) == 0
        )
        assert view.device.id == index


def test_tensors_without_elements_have_a_device(table):
    view = View()
    assert table.borrow(torch.ones(0, 3, device="cuda"), ctypes.byref(view)) == 0
    assert view.device.type == CUDA
