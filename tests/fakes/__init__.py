"""Fake CUDA, NCCL and NVML for machines without a GPU: see README.md of this folder."""

from tests.fakes.libraries import HERE, build
from tests.fakes.use import Call, environment, recorded

__all__ = ["HERE", "Call", "build", "environment", "recorded"]
