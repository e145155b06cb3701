"""Files of tensors: written whole, read back equal, refused with a reason."""

import io
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pyaccel.utils import clean_state_dict_for_safetensors, load, save


@pytest.fixture(autouse=True)
def one_process(alone):
    """These tests write files by themselves."""


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_there_and_back(tmp_path, safe, as_path):
    path = as_path(tmp_path / "file")
    tensors = {
        "a": torch.arange(6).reshape(2, 3).t(),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(1.5),
    }
    save(tensors, path, safe_serialization=safe)
    read = load(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


@pytest.mark.parametrize("safe", [False, True])
def test_open_files(safe):
    file = io.BytesIO()
    save({"a": torch.ones(2)}, file, safe_serialization=safe)
    if safe:
        from safetensors.torch import load as load_bytes

        assert load_bytes(file.getvalue())["a"].tolist() == [1, 1]
    else:
        file.seek(0)
        assert load(file)["a"].tolist() == [1, 1]


def test_a_file_of_safetensors_says_that_it_is_of_torch(tmp_path):
    save({"a": torch.ones(2)}, tmp_path / "file", safe_serialization=True)
    with safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_map_location(tmp_path):
    for safe in (False, True):
        save({"a": torch.ones(2)}, tmp_path / "file", safe_serialization=safe)
        for place in ("cpu", torch.device("cpu"), None):
            assert load(tmp_path / "file", map_location=place)["a"].sum() == 2
    with pytest.raises(TypeError, match="map_location is .*: name one device"):
        load(tmp_path / "file", map_location={"cpu": "cpu"})


def test_states_of_random_numbers(tmp_path):
    states = {
        "numpy": np.random.RandomState(3).get_state(),
        "python": random.Random(3).getstate(),
        "arrays": [np.ones(2, dtype) for dtype in ("?", "i1", "u8", "f2", "c16")],
    }
    save(states, tmp_path / "file")
    read = load(tmp_path / "file")
    random.setstate(read["python"])
    assert random.random() == random.Random(3).random()
    np.random.set_state(read["numpy"])
    assert np.random.rand() == np.random.RandomState(3).rand()
    assert [array.dtype for array in read["arrays"]] == [
        array.dtype for array in states["arrays"]
    ]


def test_what_could_run_code_is_asked_for(tmp_path):
    save({"a": OrderedDict}, tmp_path / "harmless")
    save({"a": io.StringIO}, tmp_path / "file")
    assert load(tmp_path / "harmless") == {"a": OrderedDict}
    with pytest.raises(Exception, match="weights_only"):
        load(tmp_path / "file")
    assert load(tmp_path / "file", weights_only=False) == {"a": io.StringIO}


@pytest.mark.parametrize("text", [b"", b"{", b"\x05\0\0\0\0\0\0\0{", b"text"])
def test_files_of_neither_kind(tmp_path, text):
    (tmp_path / "file").write_bytes(text)
    with pytest.raises((EOFError, RuntimeError, ValueError, Exception)) as caught:
        load(tmp_path / "file")
    assert "safetensors" not in type(caught.value).__module__


def test_one_tensor_of_two_names_is_written_once(caplog):
    weight = torch.arange(4.0)
    given = {"head": weight, "norm": torch.ones(1), "embed": weight}
    clean = clean_state_dict_for_safetensors(given)
    assert list(clean) == ["head", "norm"]
    assert list(given) == ["head", "norm", "embed"], "the caller's dict is its own"
    assert "embed not written" in caplog.text


def test_views_of_one_memory_are_all_written(tmp_path):
    whole = torch.arange(6.0)
    given = {
        "first": whole[:3],
        "whole": whole,
        "every other": whole[::2],
        "rows": whole.view(2, 3),
        "bits": whole.view(torch.int32),
        "nothing": whole[:0],
        "nothing else": whole[:0],
    }
    save(given, tmp_path / "file", safe_serialization=True)
    read = load_file(tmp_path / "file")
    assert set(given) - set(read) <= {"nothing else"}
    for name, tensor in read.items():
        assert torch.equal(tensor, given[name])


def test_conjugate_and_negative_views_are_no_other_names(tmp_path):
    whole = torch.tensor([1 + 2j, 3 - 4j])
    given = {"plain": whole, "conj": whole.conj(), "imag": whole.conj().imag}
    save(given, tmp_path / "file", safe_serialization=True)
    read = load_file(tmp_path / "file")
    assert read.keys() == given.keys()
    for name, tensor in read.items():
        assert tensor.tolist() == given[name].tolist()


def test_tensors_that_are_made_when_asked_for():
    """An address that is free again after a look is not the same tensor's."""

    class Made(dict):
        def items(self):
            for name, value in super().items():
                yield name, torch.full((64, 3), float(value)).t()

    clean = clean_state_dict_for_safetensors(Made({str(i): i for i in range(20)}))
    assert [tensor[0, 0].item() for tensor in clean.values()] == list(range(20))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([1], "Expected a dict .*list.*: pass a model's state_dict"),
        ({"a": 3}, "Key `a` is invalid, .*int.*: leave it out"),
        ({"a": {"b": torch.ones(1)}}, "Key `a` is invalid, .*dict"),
    ],
)
def test_what_cannot_be_written(tmp_path, given, text):
    with pytest.raises(ValueError, match=text):
        save(given, tmp_path / "file", safe_serialization=True)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    "tensor", [torch.ones(2, 2).to_sparse(), torch.ones(1, device="meta")]
)
def test_tensors_without_bytes_are_refused(tmp_path, tensor):
    with pytest.raises((ValueError, RuntimeError, NotImplementedError)):
        save({"a": tensor}, tmp_path / "file", safe_serialization=True)
