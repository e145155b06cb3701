"""Small helpers: names, dicts, ports, the kernel, seeds, bars."""

import io
import platform
import random
import socket
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch

from pyaccel import PartialState
from pyaccel.test_utils.testing import assert_exception
from pyaccel.utils import (
    check_os_kernel,
    convert_bytes,
    get_pretty_name,
    is_port_in_use,
    merge_dicts,
    recursive_getattr,
    set_seed,
    synchronize_rng_state,
    synchronize_rng_states,
    tqdm,
)
from pyaccel.utils.other import get_free_port


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KB"),
        (1600, "1.56 KB"),
        (3 * 2**30, "3.0 GB"),
        (2**60, "1024.0 PB"),
    ],
)
def test_bytes(size, text):
    assert convert_bytes(size) == text


def test_names():
    for what in (OrderedDict, OrderedDict()):
        assert get_pretty_name(what) == "OrderedDict"
    assert get_pretty_name(OrderedDict.popitem) == "OrderedDict.popitem"
    assert get_pretty_name(platform) == "platform"


def test_dicts_are_merged():
    destination = {"a": {"x": 1, "y": 1}, "b": 1}
    assert merge_dicts({"a": {"x": 2}, "c": {"z": 3}}, destination) is destination
    assert destination == {"a": {"x": 2, "y": 1}, "b": 1, "c": {"z": 3}}
    with pytest.raises(TypeError, match="'b' is a dict in the source and 1 in"):
        merge_dicts({"b": {"x": 1}}, destination)


def test_attributes_of_attributes():
    assert recursive_getattr(platform, "os.path.sep") == "/"
    with pytest.raises(AttributeError, match="nowhere"):
        recursive_getattr(platform, "os.nowhere.sep")


def test_ports():
    with socket.create_server(("localhost", 0)) as server:
        assert is_port_in_use(server.getsockname()[1])
    assert not is_port_in_use(get_free_port())
    with pytest.raises(OverflowError, match="port is 65536: pass a number from 0"):
        is_port_in_use(65536)


@pytest.mark.parametrize(
    ("kernel", "warns"),
    [
        (("Linux", "5.4.0-1-generic"), True),
        (("Linux", "4.18"), True),
        (("Linux", "5.5.0"), False),
        (("Linux", "10.0.1"), False),
        (("Linux", "unknown"), False),
        (("Darwin", "5.4.0"), False),
    ],
)
def test_old_kernels(alone, monkeypatch, caplog, kernel, warns):
    system, release = kernel
    monkeypatch.setattr(platform, "uname", lambda: (system, "host", release, "", "x"))
    check_os_kernel()
    PartialState(cpu=True)
    check_os_kernel()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2 * warns
    if warns:
        assert release in caplog.text
        assert "5.5.0" in caplog.text


def test_seeds(alone):
    set_seed(np.int64(5))
    first = random.random(), np.random.rand(), torch.rand(1).item()
    set_seed(5, device_specific=True)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first


def test_seeds_of_devices(monkeypatch):
    seeded = []

    class Device:
        manual_seed_all = staticmethod(seeded.append)

    monkeypatch.setattr(torch, "hpu", Device, raising=False)
    set_seed(9)
    assert seeded == [9]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_seeds_nothing(seed):
    random.seed(1)
    before = random.getstate()
    with pytest.raises(ValueError, match=f"is {seed}: pass one from 0 to 4294967295"):
        set_seed(seed)
    assert random.getstate() == before


@pytest.mark.parametrize("seed", [1.5, "1", None])
def test_a_seed_that_is_no_number(seed):
    with pytest.raises(TypeError, match="set_seed: seed is .*, not an integer"):
        set_seed(seed)


def test_deterministic():
    set_seed(1)
    assert not torch.are_deterministic_algorithms_enabled()
    set_seed(1, deterministic=True)
    try:
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_states_in_one_process(alone):
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    synchronize_rng_states(["torch", "numpy", "python"])
    assert torch.rand(1) == expected
    with pytest.raises(ValueError, match="rng_type is None: name one of"):
        synchronize_rng_state()
    with pytest.raises(ValueError, match="'dice' is not a valid RNGType: name one of"):
        synchronize_rng_states(["dice"])
    with pytest.raises(TypeError, match=r"rng_types is 'torch', not a list"):
        synchronize_rng_states("torch")
    with pytest.raises(AssertionError, match="Need a generator .*: pass generator="):
        synchronize_rng_state("generator")
    with pytest.raises(AssertionError, match="NPU.*leave 'npu' out of rng_types"):
        synchronize_rng_state("npu")


def test_bars(alone):
    written = io.StringIO()
    assert list(tqdm("ab", file=written)) == ["a", "b"]
    assert "2/2" in written.getvalue()
    assert tqdm("ab", disable=True).disable
    for value in (True, False):
        with pytest.raises(ValueError, match=f"argument is {value}"):
            tqdm(value, "ab")


def test_no_bars(alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="tqdm is not installed.*pip install tqdm"):
        tqdm("ab")


def test_assert_exception():
    with assert_exception(ValueError):
        raise UnicodeError("abc")
    with assert_exception(ValueError, "b"):
        raise ValueError("abc")
    with (
        pytest.raises(AssertionError, match="Expected message 'z' .* but got 'abc'"),
        assert_exception(ValueError, "z"),
    ):
        raise ValueError("abc")
    with (
        pytest.raises(AssertionError, match="Expected exception of type .*ValueError"),
        assert_exception(ValueError),
    ):
        raise KeyError("abc")
    with (
        pytest.raises(AssertionError, match="ran without issue"),
        assert_exception(ValueError),
    ):
        pass
    with pytest.raises(KeyboardInterrupt), assert_exception(ValueError):
        raise KeyboardInterrupt


def test_an_old_name(fresh):
    script = """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import pyaccel.memory_utils
        print([(w.category.__name__, "old name" in str(w.message)) for w in caught])
    """
    assert fresh.python(script).check().stdout == "[('FutureWarning', True)]\n"
