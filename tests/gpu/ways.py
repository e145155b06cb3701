"""Runs functions in ranks whose tensors stand on GPUs, over each way between these."""

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch

from pyaccel import PartialState
from pyaccel._group import WAYS
from tests.distributed import values
from tests.gpu import machine


@dataclass(frozen=True)
class Gpus:
    """As a backend of tests/distributed: groups whose ranks each have a GPU."""

    # The rows that the ranks ask for; None: what the group chooses by itself.
    way: str | None
    # Whether all ranks are on one GPU.
    shared: bool = True
    extra: dict = field(default_factory=dict)
    ranks: object = None

    def missing(self, size=2):
        """Why a group of so many ranks cannot be had here; None if it can."""
        if not self.shared:
            return machine.needs(size)
        return machine.one_nccl_gpu() if self.way == "nccl" else machine.needs(1)

    def run(self, function, *args, timeout=30.0, **options):
        """`Ranks.run` with tensors that are made on each rank's GPU."""
        __tracebackhide__ = True
        if reason := self.missing(options.get("size", 2)):
            pytest.skip(reason)
        environment = {
            # The harness gives its ranks what keeps them on the CPU.
            "ACCELERATE_USE_CPU": "false",
            **({WAYS: self.way} if self.way else {}),
            **(machine.one_visible() if self.shared else {}),
            **self.extra,
        }
        return self.ranks.run(
            on_gpu,
            function,
            args,
            timeout=timeout,
            group_env=environment,
            **options,
        )

    def over(self, ranks):
        """The same with the harness's ranks, which live as long as the session."""
        return replace(self, ranks=ranks)


SHARED = {
    "ipc": Gpus("ipc"),
    "staged": Gpus("staged"),
    "nccl": Gpus("nccl", extra=machine.ALLOWED),
}
# One GPU a rank.
APART = {
    "nccl": Gpus("nccl", shared=False),
    "ipc": Gpus("ipc", shared=False),
    "staged": Gpus("staged", shared=False),
}


def on_gpu(function, args):
    """In a rank: calls the function with new tensors on the rank's GPU."""
    # Ranks that share a GPU cannot have torch's own group over NCCL.
    device = PartialState(backend="gloo").device
    values.place = partial(values.to_device, device=device)
    with torch.device(device):
        result = function(*args)
    getattr(torch, device.type).synchronize(device)
    if device.type == "cuda":
        # Many groups stay alive, and all may be on one GPU.
        torch.cuda.empty_cache()
    return result
