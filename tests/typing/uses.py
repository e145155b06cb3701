"""Read by mypy, never run: what a script with types sees of the public names.

A line that ends with `# error: CODE` is wrong, and mypy must say so.
"""

from typing_extensions import assert_type

import pyaccel
from pyaccel import Accelerator, DistributedType, PartialState
from pyaccel.state import AcceleratorState
from pyaccel.utils import InitProcessGroupKwargs, gather, gather_object

assert_type(pyaccel.__version__, str)


def members(state: PartialState | AcceleratorState | Accelerator) -> None:
    assert_type(state.num_processes, int)
    assert_type(state.process_index, int)
    assert_type(state.local_process_index, int)
    assert_type(state.is_main_process, bool)
    assert_type(state.is_local_main_process, bool)
    assert_type(state.is_last_process, bool)
    assert_type(state.use_distributed, bool)
    assert_type(state.distributed_type, DistributedType)
    with state.main_process_first():
        state.print("one line", flush=True)
    with state.split_between_processes(["a", "b"], apply_padding=True) as share:
        gather_object(list(share))
    state.wait_for_everyone()


def operations(state: PartialState) -> None:
    gather(gather_object([state.process_index]))
    gather()  # error: call-arg
    InitProcessGroupKwargs(backend="gloo", bakend=1)  # error: call-arg
