"""Which arrays can travel: every dtype with plain values, whatever its layout."""

import mmap

import numpy as np
import pytest

from pyaccel import _C
from tests.distributed.values import NUMPY_DTYPES, array, check_same, joined

RECORD = np.dtype([("name", "S3"), ("at", ">f8", (2,)), ("count", "<i2")])


def sent(value):
    return _C.comm_self().gather(value)


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_dtypes(dtype):
    for shape in [(), (3,), (2, 3), (0, 2)]:
        value = array(dtype, shape, seed=1)
        check_same(sent(value), joined([value]))


def records():
    return np.array([(b"a", (1, 2), 3), (b"bcd", (4, 5), -6)], RECORD)


@pytest.mark.parametrize(
    "value",
    [
        records(),
        records()["at"],
        records()[::-1],
        np.array(["2026-11-21", "NaT"], "datetime64[D]"),
        np.array([1, -2], ">m8[ms]"),
        np.zeros(3, "V5"),
        np.zeros((2, 0), "S4"),
        np.zeros([1] * 32, "i4"),
    ],
)
def test_structures_times_and_raw_bytes(value):
    got = sent(value)
    assert got.dtype == value.dtype
    assert got.shape == value.shape
    assert got.tobytes() == value.tobytes()


class Named(np.ndarray):
    """A subclass without behaviour of its own."""


def test_subclasses_come_back_as_arrays():
    for kind in (np.recarray, Named):
        got = sent(np.eye(2).view(kind))
        assert type(got) is np.ndarray
        assert (got == np.eye(2)).all()


def test_memory_that_cannot_be_written_is_read():
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ) as memory:
        value = np.frombuffer(memory, np.uint8)
        check_same(sent(value), value)
        del value


OBJECTS = np.dtype([("x", "i4"), ("y", "O")])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.array([object()]), "Python objects"),
        (np.zeros(2, OBJECTS), "Python objects"),
        (np.zeros(2, [("a", "S0"), ("b", "i4")])["a"], "no bytes"),
        (np.ma.masked_array([1, 2], [True, False]), "MaskedArray"),
        (np.ma.masked_array(3.0), "MaskedArray"),
        (np.float64(1), "float64"),
        (np.datetime64("2026-11-21"), "datetime64"),
        (np.dtype("f4"), "Float32DType"),
    ],
)
def test_what_is_more_or_less_than_plain_values_is_refused(value, why):
    with pytest.raises(TypeError, match=why):
        sent(value)


def test_texts_of_any_length_are_refused():
    """Their array holds addresses, which mean nothing elsewhere."""
    if not hasattr(np.dtypes, "StringDType"):
        return
    value = np.array(["a" * 100], np.dtypes.StringDType())
    with pytest.raises(TypeError, match="Python objects"):
        sent(value)
