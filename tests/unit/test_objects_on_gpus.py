"""Tensors of GPUs inside objects: rebuilt on the receiver's own device. Stand-ins take
the place of what only a GPU has."""

import pickle
from types import SimpleNamespace

import pytest
import torch

from pyaccel import _objects

GPU = SimpleNamespace(type="cuda")
VALUES = torch.arange(6.0).reshape(2, 3)
# As tensors carry it into a pickle.
STORAGE = torch.storage.TypedStorage(
    wrap_storage=VALUES.untyped_storage(), dtype=VALUES.dtype, _internal=True
)


class OnGpu:
    """As a tensor of the GPU 5 of the sender."""

    layout = torch.strided
    device = GPU
    requires_grad = is_quantized = is_nested = False

    def numel(self):
        return VALUES.numel()

    def detach(self):
        return self

    resolve_conj = resolve_neg = detach

    def cpu(self):
        return VALUES


class StorageOnGpu:
    """As the storage of a tensor of the GPU 5, on which torch would rebuild it."""

    _untyped_storage = SimpleNamespace(device=GPU)

    def __reduce__(self):
        _, arguments = torch.storage.TypedStorage.__reduce__(STORAGE)
        return pytest.fail, arguments


@pytest.fixture
def own_gpu(monkeypatch):
    """This process works on a GPU, whose tensors are on the meta device."""
    monkeypatch.setattr(_objects, "_own_device", lambda: torch.device("meta"))


def rebuilt(reduced):
    function, arguments = reduced
    return function(*arguments)


def test_a_tensor_travels_by_way_of_the_cpu():
    got = rebuilt(_objects._reduce_tensor(OnGpu()))
    assert got.device.type == "cpu"
    assert torch.equal(got, VALUES)


def test_a_tensor_is_put_on_the_own_gpu(own_gpu):
    got = rebuilt(_objects._reduce_tensor(OnGpu()))
    assert got.device.type == "meta"
    assert got.shape == VALUES.shape


def test_its_values_stay_out_of_the_pickle(monkeypatch):
    large = torch.ones(1 << 16)
    monkeypatch.setattr(OnGpu, "cpu", lambda self: large)
    function, arguments = _objects._reduce_tensor(OnGpu())
    buffers = []
    text = _objects.dumps(arguments, buffers)
    assert len(text) < 1000
    (sent,) = pickle.loads(text, buffers=buffers)
    assert torch.equal(function(sent), large)


def test_the_storage_of_other_tensors_too():
    got = rebuilt(_objects._reduce_storage(StorageOnGpu()))
    assert got._untyped_storage.device.type == "cpu"
    assert got._untyped_storage.tolist() == VALUES.untyped_storage().tolist()


def test_the_own_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _objects._own_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert _objects._own_device() == torch.device("cuda", 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VALUES.clone().requires_grad_(),
        lambda: torch.nn.Parameter(VALUES.clone()),
        lambda: torch.empty(0, 3),
    ],
)
def test_tensors_of_the_cpu_travel_as_before(make):
    value = make()
    buffers = []
    got = pickle.loads(_objects.dumps(value, buffers), buffers=buffers)
    assert type(got) is type(value)
    assert got.requires_grad == value.requires_grad
    assert torch.equal(got, value)
