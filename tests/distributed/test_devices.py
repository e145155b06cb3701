"""Tensors of a device that the core does not serve: as others, by way of the CPU."""

import torch

from pyaccel import PartialState
from pyaccel.utils import broadcast, gather, pad_across_processes, reduce
from tests.distributed import faraway
from tests.distributed.faraway import Faraway
from tests.harness import here


def values(result):
    """Where the tensors are, and what they hold."""
    return {
        name: (leaf.device.type, getattr(leaf, "here", leaf).tolist())
        for name, leaf in result.items()
    }


def mixed():
    """Tensors of both devices, the one far away transposed and with a gradient."""
    rows = torch.arange(4.0).reshape(2, 2).T + 10 * here.rank
    return {"far": Faraway(rows).requires_grad_(), "near": torch.tensor([here.rank])}


def use_both_devices():
    library = faraway.register()
    PartialState(cpu=True)
    received = mixed()
    told = broadcast(received, 1)
    uneven = Faraway(torch.full((here.rank + 1,), here.rank))
    results = (
        values(gather(mixed())),
        values(told),
        values(reduce(mixed(), "sum")),
        values(gather({"uneven": uneven})),
        values(pad_across_processes({"padded": uneven}, pad_index=7)),
    )
    library._destroy()
    return results, told["far"] is received["far"]


def test_results_are_where_the_tensors_were(backend):
    first, second = [[0.0, 2.0], [1.0, 3.0]], [[10.0, 12.0], [11.0, 13.0]]
    outcomes = backend.run(use_both_devices, size=2, own_group=True)
    for rank, (results, same) in enumerate(outcomes):
        gathered, told, reduced, uneven, padded = results
        assert gathered == {"far": ("faraway", first + second), "near": ("cpu", [0, 1])}
        assert told == {"far": ("faraway", second), "near": ("cpu", [1])}
        assert same
        total = [[10.0, 14.0], [12.0, 16.0]]
        assert reduced == {"far": ("faraway", total), "near": ("cpu", [1])}
        assert uneven == {"uneven": ("faraway", [0, 1, 1])}
        assert padded == {"padded": ("faraway", [[0, 7], [1, 1]][rank])}
