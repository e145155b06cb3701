"""One script under accelerate and under pyaccel: the same state, the same errors."""

import json
from functools import partial

import pytest

from tests.parity.differences import differences

# Writes one JSON object a process: for each case the repr of what came out of it, or an
# exception's type and text.
SCRIPT = """
import contextlib, importlib, io, json, os, sys
import torch

library = sys.argv[1]
top = importlib.import_module(library)
state_module = importlib.import_module(library + ".state")
operations = importlib.import_module(library + ".utils.operations")
PartialState, AcceleratorState = top.PartialState, state_module.AcceleratorState
results = {}


def case(name, function):
    try:
        results[name] = repr(function())
    except Exception as error:
        results[name] = f"{type(error).__name__}: {error}"


def printed(function):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        function()
    return text.getvalue()


def share(owner):
    with owner.split_between_processes(list("abcde")) as own:
        return own


state = PartialState(cpu=True)
again = PartialState(cpu=False)
members = [
    "backend", "debug", "device", "distributed_type", "fork_launched", "initialized",
    "is_last_process", "is_local_main_process", "is_main_process",
    "local_process_index", "num_processes", "process_index", "use_distributed",
    "mixed_precision", "nonsense",
]
for name in members:
    case(name, lambda: getattr(state, name))
case("repr", lambda: repr(state))
case("keys", lambda: sorted(PartialState._shared_state))
case("shared", lambda: again.__dict__ is state.__dict__ and again is not state)
case("torch", torch.distributed.is_initialized)
case("print", lambda: printed(lambda: state.print("a", "b", sep="-")))
for name in ["on_main_process", "on_local_main_process", "on_last_process"]:
    case(name, lambda: getattr(state, name)(str)(1))
case("on_process", lambda: state.on_process(str, process_index=1)(1))
case("on_process factory", lambda: state.on_process(process_index=1)(str)(1))
case("on_local_process", lambda: state.on_local_process(str, 1)(1))
case("wait_for_everyone", state.wait_for_everyone)
for name in ["main_process_first", "local_main_process_first"]:
    with getattr(state, name)():
        results[name] = "came out"
case("AcceleratorState", AcceleratorState)
AcceleratorState._reset_state()
accelerator = top.Accelerator(cpu=True)
for owner in [state, accelerator.state, accelerator]:
    case("share of " + type(owner).__name__, lambda: share(owner))
case("accelerator repr", lambda: repr(accelerator.state))
for name in [*members[2:4], *members[6:14]]:
    case("accelerator " + name, lambda: getattr(accelerator, name))
case("other precision", lambda: top.Accelerator(mixed_precision="bf16"))
case("no precision", lambda: top.Accelerator(mixed_precision="int8"))
case("on_main_process of it", lambda: accelerator.on_main_process(str)(1))
case("on_process of it", lambda: accelerator.on_process(process_index=1)(str)(1))
tensor = torch.arange(2) + 2 * state.process_index
gathered = operations.gather({"a": [tensor, (tensor.float(),)]})
case("without a function", lambda: accelerator.on_main_process())
case("gather", lambda: gathered)
case("gather of a scalar", lambda: operations.gather(torch.tensor(1.5)))
case("objects", lambda: operations.gather_object([state.process_index, "x"]))
case("objects, a text", lambda: operations.gather_object("ab")[:2])
case("broadcast", lambda: operations.broadcast([tensor.clone()]))
case("broadcast_object_list", lambda: operations.broadcast_object_list(
    [state.process_index, "x"]))
state.debug = True
case("debug, alike", lambda: operations.gather(tensor))
case("debug, uneven", lambda: operations.gather(torch.ones(1 + state.process_index)))
case("debug, nested", lambda: operations.broadcast(
    {"a": torch.ones(1 + state.process_index), "b": [torch.ones(2)]}))
AcceleratorState._reset_state()
PartialState._reset_state()
case("after reset", lambda: state.device)
case("after reset, nonsense", lambda: state.nonsense)
case("after reset, on_main_process", lambda: state.on_main_process(str))
case("after reset, initialized", lambda: state.initialized)
case("not asked for the cpu", lambda: PartialState().use_distributed)
PartialState._reset_state()
os.environ["ACCELERATE_USE_CPU"] = "true"
case("ACCELERATE_USE_CPU", lambda: PartialState()._cpu)
PartialState._reset_state()
case("a backend", lambda: PartialState(cpu=True, backend="gloo").backend)
PartialState._reset_state()
case("a wrong backend", lambda: PartialState(cpu=True, backend="nccl").backend)
PartialState._reset_state()
PartialState(cpu=True).destroy_process_group()
case("torch, destroyed", torch.distributed.is_initialized)
with open(f"{sys.argv[2]}/{library}-{results['process_index']}.json", "w") as file:
    json.dump(results, file)
"""


def agree(run, directory, size, group):
    """Runs the script under both libraries and compares every case of every process."""
    different = differences("state", group)
    for library in ("accelerate", "pyaccel"):
        run(SCRIPT, library, directory).check()
    for rank in range(size):
        theirs = json.loads((directory / f"accelerate-{rank}.json").read_text())
        ours = json.loads((directory / f"pyaccel-{rank}.json").read_text())
        for what, row in different.items():
            assert theirs.pop(what) == row["accelerate"]
            assert ours.pop(what) == row["pyaccel"]
        assert ours == theirs


def test_alone(fresh, tmp_path):
    agree(fresh.python, tmp_path, 1, "alone")


@pytest.mark.parametrize(("size", "group"), [(1, "one of torchrun"), (3, "several")])
def test_under_torchrun(fresh, tmp_path, size, group):
    agree(partial(fresh.torchrun, size=size), tmp_path, size, group)
