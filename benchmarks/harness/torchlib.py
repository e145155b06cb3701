"""torch.distributed under the names of a library: what a script writes without one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from benchmarks.harness.rank import BACKEND, TORCH


class TorchDistributed:
    """What cases of GPUs use of a library, by a collective of torch for each tensor."""

    name = TORCH

    def __init__(self, rank: int, ranks: int, backend: str, cpu: bool) -> None:
        self.device = torch.device("cpu")
        if not cpu:
            self.device = torch.device("cuda", rank % torch.cuda.device_count())
            torch.cuda.set_device(self.device)
        distributed.init_process_group(backend, rank=rank, world_size=ranks)
        self.ranks = ranks
        # Only NCCL gathers into one tensor.
        self.join = self._into_one if backend == "nccl" else self._into_parts

    def gather(self, tree: Any) -> Any:
        """The tensors of all ranks, one after the other."""
        return map_tensors(self.join, tree)

    def broadcast(self, tree: Any) -> Any:
        """The tensors of rank 0, in everyone's own."""

        def one(tensor: torch.Tensor) -> torch.Tensor:
            distributed.broadcast(tensor, 0)
            return tensor

        return map_tensors(one, tree)

    def pad_across_processes(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor with as many rows as the longest rank has."""
        rows = torch.tensor([len(tensor)], device=self.device)
        distributed.all_reduce(rows, distributed.ReduceOp.MAX)
        padded = tensor.new_zeros(int(rows.item()), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        return padded

    def _result(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.new_empty(len(tensor) * self.ranks, *tensor.shape[1:])

    def _into_one(self, tensor: torch.Tensor) -> torch.Tensor:
        result = self._result(tensor)
        distributed.all_gather_into_tensor(result, tensor)
        return result

    def _into_parts(self, tensor: torch.Tensor) -> torch.Tensor:
        result = self._result(tensor)
        distributed.all_gather(list(result.split(len(tensor))), tensor)
        return result


def map_tensors(function: Callable[[torch.Tensor], Any], tree: Any) -> Any:
    """The dict or tensor with the function's results in the place of tensors."""
    if isinstance(tree, dict):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    return function(tree)


def make(rank: int, ranks: int) -> TorchDistributed:
    """The group that the environment of a benchmark's rank asks for."""
    cpu = os.environ["ACCELERATE_USE_CPU"] == "true"
    return TorchDistributed(rank, ranks, os.environ.get(BACKEND, "gloo"), cpu)
