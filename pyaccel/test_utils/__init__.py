"""What tests of programs on several processes need."""

from .testing import assert_exception

__all__ = ["assert_exception"]
