"""Configuration files for the launcher."""

from .default import write_basic_config

__all__ = ["write_basic_config"]
