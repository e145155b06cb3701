"""Variables, flags and keyword holders."""

import os
from datetime import timedelta

import pytest

from pyaccel.utils import (
    DistributedType,
    InitProcessGroupKwargs,
    PrecisionType,
    clear_environment,
    get_int_from_env,
    parse_choice_from_env,
    parse_flag_from_env,
    str_to_bool,
)


@pytest.mark.parametrize("word", ["y", "Yes", "t", "TRUE", "on", "1"])
def test_words_that_mean_yes(word):
    assert str_to_bool(word) == 1
    assert str_to_bool(word, to_bool=True) is True


@pytest.mark.parametrize("word", ["n", "No", "f", "FALSE", "off", "0"])
def test_words_that_mean_no(word):
    assert str_to_bool(word) == 0
    assert str_to_bool(word, to_bool=True) is False


def test_another_word_is_an_error():
    with pytest.raises(ValueError, match="invalid truth value maybe"):
        str_to_bool("maybe")


def test_flag(alone):
    assert parse_flag_from_env("ACCELERATE_X") is False
    assert parse_flag_from_env("ACCELERATE_X", 1) is True
    alone("ACCELERATE_X", "yes")
    assert parse_flag_from_env("ACCELERATE_X") is True


def test_first_number_that_is_not_negative(alone):
    names = ["LOCAL_A", "LOCAL_B"]
    assert get_int_from_env(names, 7) == 7
    alone("LOCAL_A", "-1")
    alone("LOCAL_B", "3")
    assert get_int_from_env(names, 7) == 3


def test_choice(alone):
    assert parse_choice_from_env("ACCELERATE_X") == "no"
    alone("ACCELERATE_X", "bf16")
    assert parse_choice_from_env("ACCELERATE_X") == "bf16"


def test_environment_comes_back(alone):
    alone("ACCELERATE_X", "1")
    before = dict(os.environ)
    with pytest.raises(KeyError), clear_environment():
        assert not os.environ
        os.environ["NEW"] = "1"
        raise KeyError
    assert dict(os.environ) == before


def test_only_what_differs_is_handed_on():
    assert InitProcessGroupKwargs().to_kwargs() == {}
    for seconds in (5, 600):
        handler = InitProcessGroupKwargs(timeout=timedelta(seconds=seconds))
        assert handler.to_kwargs() == {"timeout": timedelta(seconds=seconds)}
    changed = InitProcessGroupKwargs()
    assert changed.timeout == timedelta(seconds=600)
    changed.timeout = timedelta(seconds=600)
    assert changed.to_kwargs() == {"timeout": timedelta(seconds=600)}
    assert InitProcessGroupKwargs(backend="gloo").timeout == timedelta(minutes=30)


def test_enumerations():
    assert DistributedType("MULTI_CPU") == "MULTI_CPU"
    assert "bf16" in PrecisionType
    assert "int8" not in PrecisionType
    assert PrecisionType.list() == ["no", "fp8", "fp16", "bf16"]
