"""Comparing versions of installed packages without importing them."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING

from .constants import STR_OPERATION_TO_FUNC

if TYPE_CHECKING:
    from packaging.version import Version


def compare_versions(
    library_or_version: str | Version, operation: str, requirement_version: str
) -> bool:
    """Whether a version is, say, ">=" another: `compare_versions("numpy", ">=", "2")`.

    The first is a version, or the name of an installed package. `operation` is one of
    > >= == != <= <.
    """
    from packaging.version import parse

    if operation not in STR_OPERATION_TO_FUNC:
        raise ValueError(
            "`operation` must be one of "
            f"{list(STR_OPERATION_TO_FUNC)}, received {operation}"
        )
    if isinstance(library_or_version, str):
        library_or_version = parse(_installed(library_or_version))
    compare = STR_OPERATION_TO_FUNC[operation]
    return compare(library_or_version, parse(requirement_version))


def is_torch_version(operation: str, version: str) -> bool:
    """Whether the installed torch is, say, ">=" a version; torch is not imported."""
    return compare_versions("torch", operation, version)


@lru_cache
def _installed(package: str) -> str:
    """The version of a package, which does not change while a program runs."""
    return metadata.version(package)
