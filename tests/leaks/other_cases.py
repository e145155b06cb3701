"""Leak cases of splitting, and of what concerns the machine and the process."""

import functools
import os

import numpy as np
import pytest
import torch

from pyaccel import _C, PartialState
from tests import fakes
from tests.leaks.table import case


@case("split")
def split(comm, given):
    for inputs in (
        given.numbers,
        tuple(given.numbers),
        range(10),
        given.tensor,
        given.array,
        {"a": given.numbers, "b": {"c": given.array}},
        given.numbers[:1],
    ):
        for rank in range(3):
            _C.split(inputs, rank, 3)
            _C.split(inputs, rank=rank, size=3, apply_padding=True)


class Broken(list):
    """A list that cannot be sliced."""

    def __getitem__(self, key):
        raise ArithmeticError


class BrokenSequence:
    """A sequence whose items cannot be had."""

    def __len__(self):
        return 10

    def __getitem__(self, key):
        raise ArithmeticError


@case("split")
def split_refused(comm, given):
    for inputs, kinds in (
        ({"a": given.numbers, "b": given.numbers[:3]}, ValueError),
        (5, TypeError),
        ({1, 2}, TypeError),
        (torch.tensor(1.0), (TypeError, ValueError)),
        (np.array(1.0), (TypeError, ValueError)),
        (BrokenSequence(), ArithmeticError),
    ):
        with pytest.raises(kinds):
            _C.split(inputs, 1, 3)
    for arguments in ((given.numbers, 3, 3), (given.numbers, 0, 0)):
        with pytest.raises(ValueError):
            _C.split(*arguments)
    with pytest.raises(TypeError):
        _C.split(given.numbers, given.text, 2)
    with pytest.raises(TypeError):
        _C.split(given.numbers)


@case("Splitter.split_between_processes")
def splitter(comm, given):
    state = PartialState()
    with state.split_between_processes(given.numbers) as own:
        assert own
    with state.split_between_processes({"a": given.array}, apply_padding=True) as own:
        assert own
    # Left by an exception, and made without being entered.
    with pytest.raises(ArithmeticError), state.split_between_processes(given.tensor):
        raise ArithmeticError
    state.split_between_processes(given.numbers)
    with pytest.raises(TypeError):
        state.split_between_processes()


@case("build_info", "usable_cpus", "call_site")
def facts(comm, given):
    assert _C.build_info()
    assert __file__ in _C.call_site()
    assert _C.usable_cpus() > 0


@case("spawn")
def spawn(comm, given):
    pid = _C.spawn([b"/bin/true"], [b"A=1"], (0, 1, 2), pid_entry=b"PID=%")
    assert os.waitpid(pid, 0)[1] == 0
    with pytest.raises(FileNotFoundError):
        _C.spawn([b"/nowhere/program"], [], (0, 1, 2))
    for arguments in ([], [b"null\0byte"]):
        with pytest.raises(ValueError):
            _C.spawn(arguments, [], (0, 1, 2))
    for variables in ([given.text], given.text):
        with pytest.raises(TypeError):
            _C.spawn([b"/bin/true"], variables, (0, 1, 2))


@case("is_leaf")
def is_leaf(comm, given):
    assert _C.is_leaf(torch.ones(1))
    assert _C.is_leaf(np.ones(1))
    assert not _C.is_leaf(given.text)


@case("force_tensor_path")
def force_tensor_path(comm, given):
    for path in ("exchange", "shim", "attributes", "auto"):
        _C.force_tensor_path(path)
    with pytest.raises(ValueError):
        _C.force_tensor_path(given.text)
    with pytest.raises(TypeError):
        _C.force_tensor_path(5)


@case("keep_buffer_in_band")
def keep_buffer_in_band(comm, given):
    buffers = []
    assert _C.keep_buffer_in_band(buffers, b"small")
    assert not _C.keep_buffer_in_band(buffers, given.large.numpy())
    assert len(buffers) == 1
    for arguments in ((), (buffers,), (given.text, b"x")):
        with pytest.raises(TypeError):
            _C.keep_buffer_in_band(*arguments)
    with pytest.raises((TypeError, BufferError)):
        _C.keep_buffer_in_band(buffers, given.text)


@case("gpu_search", "gpu_libraries")
def gpu_libraries(comm, given):
    for kind in ("cudart", "driver", "nccl", "nvml"):
        # False after the first call, by which all were looked for.
        _C.gpu_search(kind, ["/nowhere/one", given.text])
        _C.gpu_search(kind, [])
    assert _C.gpu_libraries().keys() == {"cudart", "driver", "nccl", "nvml"}
    for arguments, kind in (
        ((given.text, []), ValueError),
        (("nccl", ["null\0byte"]), ValueError),
        (("nccl", [given.text, 5]), TypeError),
        (("nccl", given.text), TypeError),
    ):
        with pytest.raises(kind):
            _C.gpu_search(*arguments)


@functools.cache
def fake_nvml():
    """The path of the fake, which is NVML in the processes of these cases."""
    return str(fakes.build()["nvml"])


@case("gpu_list", "gpu_driver")
def gpu_list(comm, given):
    _C.gpu_search("nvml", [fake_nvml()])
    assert _C.gpu_libraries()["nvml"]["path"] == fake_nvml()
    assert [gpu["name"] for gpu in _C.gpu_list()] == ["Fake GPU"] * 4
    assert _C.gpu_driver()


@case("gpu_list", "gpu_driver")
def gpu_list_refused(comm, given):
    _C.gpu_search("nvml", ["libm.so.6"])  # it has none of NVML's functions
    for refused in (_C.gpu_list, _C.gpu_driver):
        with pytest.raises(OSError, match="there is no nvmlInit_v2"):
            refused()
