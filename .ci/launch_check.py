"""Run by two ranks from the installed wheel: a split, a gather, a barrier."""

import torch

from pyaccel import PartialState
from pyaccel.utils import gather, gather_object

state = PartialState()
with state.split_between_processes([0, 1, 2]) as share:
    objects = gather_object(share)
tensors = gather(torch.tensor([float(state.process_index)]))
state.wait_for_everyone()

assert state.num_processes == 2, state
assert objects == [0, 1, 2], objects
assert tensors.tolist() == [0.0, 1.0], tensors
state.print(f"wheel: {state.num_processes} processes gathered {objects} and {tensors}")
