"""One script under both libraries, with CUDA pretended: the same device."""

import json

import pytest

# The script makes torch's group itself, over gloo, and so needs no real device.
SCRIPT = """
import importlib, json, os, sys
import torch

chosen = []
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: int(os.environ["DEVICES"])
torch.cuda.set_device = lambda device: chosen.append(str(device))
torch.distributed.init_process_group("gloo")
library = importlib.import_module(sys.argv[1])
state = library.PartialState()
first = [str(state.device), str(state.distributed_type), list(chosen)]
state.set_device()
assert len(chosen) == len(first[2])  # it is chosen already
state.device = None
state.set_device()
mask = os.environ["CUDA_VISIBLE_DEVICES"]
index = state.local_process_index
print(json.dumps([*first, str(state.device), chosen, mask, index]))
"""


@pytest.mark.parametrize(
    ("devices", "named"), [(1, None), (2, None), (3, None), (4, None), (2, "cuda:1")]
)
def test_devices(fresh, devices, named):
    def said(library):
        env = {"DEVICES": str(devices), "CUDA_VISIBLE_DEVICES": "7,6,5,4"}
        if named is not None:
            env["ACCELERATE_TORCH_DEVICE"] = named
        finished = fresh.variables(SCRIPT, library, size=3, env=env)
        return [json.loads(one.check().stdout) for one in finished]

    ours = said("pyaccel")
    assert ours == said("accelerate")
    wanted = [named or f"cuda:{rank % devices}" for rank in range(3)]
    assert [one[0] for one in ours] == wanted
