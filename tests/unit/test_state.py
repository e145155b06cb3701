"""PartialState and AcceleratorState in a process that works alone."""

import pytest
import torch

from pyaccel import DistributedType, PartialState
from pyaccel._process import do_nothing
from pyaccel.state import AcceleratorState, is_initialized

pytestmark = pytest.mark.usefixtures("alone")

KEYS = {
    "_cpu",
    "backend",
    "debug",
    "device",
    "distributed_type",
    "fork_launched",
    "local_process_index",
    "num_processes",
    "process_index",
}


def test_alone():
    state = PartialState(cpu=True)
    assert (state.num_processes, state.process_index) == (1, 0)
    assert state.local_process_index == 0
    assert state.distributed_type is DistributedType.NO
    assert state.backend is None
    assert state.device == torch.device("cpu")
    assert state.debug is False
    assert state.fork_launched is False
    assert state.is_main_process
    assert state.is_local_main_process
    assert state.is_last_process
    assert not state.use_distributed
    assert set(PartialState._shared_state) == KEYS


def test_repr():
    assert repr(PartialState(cpu=True)) == (
        "Distributed environment: DistributedType.NO\n"
        "Num processes: 1\n"
        "Process index: 0\n"
        "Local process index: 0\n"
        "Device: cpu\n"
    )


def test_instances_share_their_state():
    first = PartialState(cpu=True)
    second = PartialState(cpu=False)
    assert first is not second
    assert first.__dict__ is second.__dict__
    second.debug = True
    assert first.debug
    assert second._cpu


def test_reset():
    state = PartialState()
    assert state.initialized
    PartialState._reset_state()
    assert PartialState._shared_state == {}
    assert not state.initialized
    with pytest.raises(AttributeError, match=r"`PartialState\._reset_state\(\)` was"):
        state.device  # noqa: B018
    with pytest.raises(AttributeError, match="'PartialState' object has no attribute"):
        state.nonsense  # noqa: B018
    with pytest.raises(ValueError, match="must be initialized before calling"):
        state.on_main_process(print)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "1"),
        ("ACCELERATE_DEBUG_MODE", "perhaps"),
        ("FORK_LAUNCHED", "perhaps"),
        ("ACCELERATE_TORCH_DEVICE", "toaster"),
    ],
)
def test_a_failed_constructor_leaves_nothing(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises((ValueError, RuntimeError)):
        PartialState()
    assert PartialState._shared_state == {}
    monkeypatch.delenv(name)
    assert PartialState().num_processes == 1


def test_variables(monkeypatch):
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")
    monkeypatch.setenv("ACCELERATE_DEBUG_MODE", "1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    monkeypatch.setenv("FORK_LAUNCHED", "1")
    state = PartialState()
    assert state.device == torch.device("meta")
    assert state.debug
    assert state._cpu
    assert state.fork_launched


def test_set_device_keeps_a_device_and_chooses_one():
    state = PartialState(cpu=True)
    state.device = torch.device("meta")
    state.set_device()
    assert state.device.type == "meta"
    state.device = None
    state.set_device()
    assert state.device == torch.device("cpu")


def test_everything_runs_alone(capsys):
    state = PartialState()
    state.wait_for_everyone()
    with state.main_process_first(), state.local_main_process_first():
        state.print("here", end="!")
    assert capsys.readouterr().out == "here!"
    with pytest.raises(KeyError), state.main_process_first():
        raise KeyError
    state.destroy_process_group()


def test_decorators_run_alone():
    state = PartialState()
    assert state.on_main_process(len) is len
    assert state.on_local_main_process(len) is len
    assert state.on_last_process(len) is len
    assert state.on_process(len, process_index=3) is len
    assert state.on_process(process_index=3)(len) is len
    assert state.on_local_process(len, local_process_index=3) is len
    assert state.on_local_process(local_process_index=3)(len) is len
    assert do_nothing(1, a=2) is None


def test_options_of_the_group_mean_nothing_alone():
    assert PartialState(backend="gloo", timeout=None).backend is None


def test_training_is_refused():
    with pytest.raises(NotImplementedError, match="_use_sagemaker_dp is for training"):
        PartialState(_use_sagemaker_dp=True)


def test_accelerator_state_needs_an_accelerator():
    for _ in range(2):
        with pytest.raises(ValueError, match="properly initialize your accelerator"):
            AcceleratorState()
        assert not is_initialized()


def test_accelerator_state(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    state = AcceleratorState(cpu=True, _from_accelerator=True)
    assert is_initialized()
    assert state.initialized
    assert state.mixed_precision == "bf16"
    assert state.num_processes == 1
    assert state.is_main_process
    assert not state.use_distributed
    assert repr(state).endswith("Device: cpu\n\nMixed precision type: bf16\n")
    assert AcceleratorState().mixed_precision == "bf16"
    with pytest.raises(ValueError, match="pass `mixed_precision='fp16'`"):
        AcceleratorState(mixed_precision="fp16")
    AcceleratorState._reset_state()
    with pytest.raises(AttributeError, match=r"`AcceleratorState\._reset_state\(\)`"):
        state.device  # noqa: B018
    with pytest.raises(AttributeError, match="'AcceleratorState' object has no"):
        state.nonsense  # noqa: B018
    assert PartialState().initialized


def test_a_device_that_is_no_cpu_cannot_become_one(monkeypatch):
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")
    AcceleratorState(_from_accelerator=True)
    with pytest.raises(ValueError, match="pass `cpu=True` to `Accelerator"):
        AcceleratorState(cpu=True)
