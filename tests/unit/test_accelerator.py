"""Accelerator in a process that works alone."""

from datetime import timedelta

import pytest
import torch

from pyaccel import Accelerator, InitProcessGroupKwargs, PartialState
from pyaccel.state import AcceleratorState
from pyaccel.utils import KwargsHandler

pytestmark = pytest.mark.usefixtures("alone")


def test_members():
    accelerator = Accelerator(cpu=True)
    state = PartialState()
    for name in (
        "device",
        "distributed_type",
        "is_last_process",
        "is_local_main_process",
        "is_main_process",
        "local_process_index",
        "num_processes",
        "process_index",
        "use_distributed",
    ):
        assert getattr(accelerator, name) == getattr(state, name), name
    assert accelerator.mixed_precision == "no"
    assert not accelerator.multi_device
    assert isinstance(accelerator.state, AcceleratorState)
    accelerator.wait_for_everyone()
    tensor = torch.ones(2)
    assert accelerator.gather(tensor) is tensor


def test_precision():
    assert Accelerator(mixed_precision="bf16").mixed_precision == "bf16"
    with pytest.raises(ValueError, match="Unknown mixed_precision mode: int8"):
        Accelerator(mixed_precision="int8")


def test_handlers():
    handler = InitProcessGroupKwargs(timeout=timedelta(seconds=9))
    assert Accelerator(kwargs_handlers=[handler]).init_handler is handler
    with pytest.raises(ValueError, match="You can only pass one"):
        Accelerator(kwargs_handlers=[handler, handler])
    with pytest.raises(AssertionError, match="Unsupported kwargs handler passed"):
        Accelerator(kwargs_handlers=["timeout"])

    class Other(KwargsHandler):
        pass

    with pytest.raises(NotImplementedError, match="Other is for training"):
        Accelerator(kwargs_handlers=[Other()])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient_accumulation_steps", 2),
        ("fsdp_plugin", object()),
        ("log_with", "all"),
        ("split_batches", True),
        ("step_scheduler_with_optimizer", False),
    ],
)
def test_training_is_refused(name, value):
    with pytest.raises(NotImplementedError, match=f"{name} is for training"):
        Accelerator(**{name: value})


def test_decorators_decide_at_each_call():
    accelerator = Accelerator()
    decorated = [
        accelerator.on_main_process(len),
        accelerator.on_local_main_process(len),
        accelerator.on_last_process(len),
        accelerator.on_process(len, process_index=0),
        accelerator.on_process(process_index=0)(len),
        accelerator.on_local_process(len, local_process_index=0),
        accelerator.on_local_process(local_process_index=0)(len),
    ]
    assert [function([1, 2]) for function in decorated] == [2] * 7
    assert decorated[0].__name__ == "len"
    with pytest.raises(ValueError, match="must be called with a function"):
        accelerator.on_main_process()
