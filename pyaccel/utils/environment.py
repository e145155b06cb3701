"""What the environment's variables say, read as accelerate reads them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


def str_to_bool(value: str, to_bool: bool = False) -> int | bool:
    """1 for a word that means yes, 0 for one that means no; bools with `to_bool`."""
    word = value.lower()
    if word not in _TRUE and word not in _FALSE:
        raise ValueError(
            f"invalid truth value {word}: write one of {', '.join(_TRUE + _FALSE)}"
        )
    truth = word in _TRUE
    return truth if to_bool else int(truth)


def get_int_from_env(env_keys, default):
    """The first of the variables `env_keys` that holds zero or more, else `default`."""
    for key in env_keys:
        value = int(os.environ.get(key, "-1"))
        if value >= 0:
            return value
    return default


def parse_flag_from_env(key, default=False):
    """Whether the variable `key` means yes; `default` where it is not set."""
    return bool(str_to_bool(os.environ.get(key, str(default))))


def parse_choice_from_env(key, default="no"):
    """The text of the variable `key`; `default` where it is not set."""
    return os.environ.get(key, str(default))


@contextmanager
def clear_environment() -> Iterator[None]:
    """Empties the environment for a block, and puts it back whatever the block does."""
    saved = os.environ.copy()
    os.environ.clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
