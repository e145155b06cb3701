"""Fixtures of all tests: they come from the harness."""

from tests.harness.plugin import fresh, ranks

__all__ = ["fresh", "ranks"]
