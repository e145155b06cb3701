"""Keeps what a function does to accelerate's variables from outliving the function."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import getattr_static
from typing import Any

_PREFIX = "ACCELERATE_"
# On a function that is guarded already, so that subclasses do not guard it again.
_GUARDED = "_accelerate_is_purged_environment_wrapped"


@contextmanager
def _restored() -> Iterator[None]:
    """A block after which accelerate's variables are what they were before it."""
    saved = _variables()
    try:
        yield
    finally:
        for name in _variables():
            del os.environ[name]
        os.environ.update(saved)


def _variables() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith(_PREFIX)}


def purge_accelerate_environment(func_or_cls: Any) -> Any:
    """Decorates a function, or the tests of a class and of classes derived from it.

    After each call, the variables that begin with ACCELERATE_ are as they were before.
    """
    if isinstance(func_or_cls, type):
        return _guard_class(func_or_cls)
    return _guard(func_or_cls)


def _guard_class(base: Any) -> Any:
    _guard_tests(base)
    own = vars(base).get("__init_subclass__")

    def init_subclass(cls, **kwargs) -> None:
        if own is None:
            super(base, cls).__init_subclass__(**kwargs)
        else:
            own.__func__(cls, **kwargs)
        _guard_tests(cls)

    base.__init_subclass__ = classmethod(init_subclass)
    return base


def _guard(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def guarded(*args, **kwargs):
        with _restored():
            return function(*args, **kwargs)

    setattr(guarded, _GUARDED, True)
    return guarded


def _guard_tests(cls: type) -> None:
    """Guards the class' methods whose names begin with test, inherited ones as well."""
    for name in filter(lambda name: name.startswith("test"), dir(cls)):
        member = getattr_static(cls, name)
        kind = type(member) if isinstance(member, (staticmethod, classmethod)) else None
        function = member.__func__ if kind else member
        if callable(function) and not hasattr(function, _GUARDED):
            guarded = _guard(function)
            setattr(cls, name, kind(guarded) if kind else guarded)
