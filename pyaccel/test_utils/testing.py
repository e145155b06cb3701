"""Checks for tests that run without a test framework, on every process."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def assert_exception(
    exception_class: type[BaseException], msg: str | None = None
) -> Iterator[None]:
    """A block that must raise an exception of that class, with `msg` in its text."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, exception_class):
            raise AssertionError(
                f"Expected exception of type {exception_class} but got {type(error)}: "
                f"{error}"
            ) from error
        if msg is not None and msg not in str(error):
            raise AssertionError(
                f"Expected message '{msg}' to be in exception but got '{error}'"
            ) from error
        return
    raise AssertionError(
        f"Expected exception of type {exception_class} but ran without issue."
    )
