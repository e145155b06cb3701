"""Who this process is among the others: the shared state under accelerate's names."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _C, _gpu_libraries, _group
from ._process import ProcessMembers, do_nothing
from ._world import World, find_world
from .utils.dataclasses import DistributedType
from .utils.environment import (
    check_cuda_p2p_ib_support,
    parse_choice_from_env,
    parse_flag_from_env,
    set_numa_affinity,
)

if TYPE_CHECKING:
    import torch


def is_initialized() -> bool:
    """Whether an `Accelerator` has set its state up."""
    return AcceleratorState._shared_state != {}


class PartialState(ProcessMembers):
    """This process' place among all processes, and its device.

    All instances share one state, which the first one sets up, waiting for the other
    processes; arguments of later ones are ignored. `cpu` keeps to the CPU where there
    is an accelerator. `kwargs` are those of torch.distributed.init_process_group;
    `timeout` also is how long our own operations wait.
    """

    _shared_state: dict[str, Any] = {}  # noqa: RUF012 - accelerate's, compared with {}
    _known_attrs = (
        "_cpu",
        "_mixed_precision",
        "_shared_state",
        "backend",
        "debug",
        "device",
        "distributed_type",
        "fork_launched",
        "local_process_index",
        "num_processes",
        "process_index",
    )

    if TYPE_CHECKING:
        _cpu: bool
        num_processes: int
        process_index: int
        local_process_index: int
        distributed_type: DistributedType
        device: torch.device
        backend: str | None
        debug: bool
        fork_launched: bool

    def __init__(self, cpu: bool = False, **kwargs):
        self.__dict__ = self._shared_state
        fork_launched = parse_flag_from_env("FORK_LAUNCHED", 0)
        if not self.initialized:
            # Published whole: a set-up that failed leaves nothing behind.
            self._shared_state.update(_set_up(cpu, kwargs))
        self.fork_launched = fork_launched

    def __repr__(self) -> str:
        backend = f"  Backend: {self.backend}" if self.backend else ""
        return (
            f"Distributed environment: {self.distributed_type}{backend}\n"
            f"Num processes: {self.num_processes}\n"
            f"Process index: {self.process_index}\n"
            f"Local process index: {self.local_process_index}\n"
            f"Device: {self.device}\n"
        )

    @staticmethod
    def _reset_state() -> None:
        """Forgets the state but stays in the group, for the next instance."""
        PartialState._shared_state.clear()

    @property
    def initialized(self) -> bool:
        """Whether the state is set up."""
        return self._shared_state != {}

    def on_main_process(self, function: Callable[..., Any] | None = None):
        """Decorates a function that only the main process runs; decided here."""
        if not self.initialized:
            raise ValueError(
                "The `PartialState` or `Accelerator` must be initialized before "
                "calling this function."
            )
        return self._if(self.is_main_process, function)

    def on_local_main_process(self, function: Callable[..., Any] | None = None):
        """Decorates a function that the first process of each host runs."""
        return self._if(self.is_local_main_process, function)

    def on_last_process(self, function: Callable[..., Any]):
        """Decorates a function that only the last process runs."""
        return self._if(self.is_last_process, function)

    def on_process(
        self,
        function: Callable[..., Any] | None = None,
        process_index: int | None = None,
    ):
        """Decorates a function that only the process of that index runs."""
        if function is None:
            return partial(self.on_process, process_index=process_index)
        return self._if(self.process_index == process_index, function)

    def on_local_process(
        self,
        function: Callable[..., Any] | None = None,
        local_process_index: int | None = None,
    ):
        """Decorates a function that the process of that index on each host runs."""
        if function is None:
            return partial(
                self.on_local_process, local_process_index=local_process_index
            )
        return self._if(self.local_process_index == local_process_index, function)

    def _if(self, chosen: bool, function):
        """The function on the chosen process and alone, else one that does nothing."""
        return function if chosen or not self.use_distributed else do_nothing

    @property
    def default_device(self) -> torch.device:
        """The device of a process that works alone: an accelerator if there is one."""
        from ._devices import default_device

        return default_device()

    def set_device(self) -> None:
        """Chooses the device if none is chosen, and makes it torch's current one."""
        if self.device is None:
            self.device = _device(
                self.distributed_type, self._cpu, self.local_process_index
            )

    def destroy_process_group(self, group=None) -> None:
        """Leaves the group of all processes, or destroys only torch's group `group`.

        Nothing happens to the group of all in a process that a notebook forked.
        """
        if group is None:
            if self.fork_launched:
                return
            _group.leave()
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group(group)


class AcceleratorState(ProcessMembers):
    """The state of `Accelerator`: `PartialState`'s, and the precision to work in."""

    _shared_state: dict[str, Any] = {}  # noqa: RUF012 - accelerate's, compared with {}
    _known_attrs = (
        *PartialState._known_attrs,
        "deepspeed_plugin",
        "fsdp_plugin",
        "megatron_lm_plugin",
        "dynamo_plugin",
    )

    if TYPE_CHECKING:
        _mixed_precision: str
        num_processes: int
        process_index: int
        local_process_index: int
        distributed_type: DistributedType
        device: torch.device

    def __init__(  # noqa: PLR0917 - accelerate's order
        self,
        mixed_precision: str | None = None,
        cpu: bool = False,
        dynamo_plugin=None,
        deepspeed_plugin=None,
        fsdp_plugin=None,
        torch_tp_plugin=None,
        megatron_lm_plugin=None,
        parallelism_config=None,
        _from_accelerator: bool = False,
        **kwargs,
    ):
        refuse_training(
            dynamo_plugin=dynamo_plugin,
            deepspeed_plugin=deepspeed_plugin,
            fsdp_plugin=fsdp_plugin,
            torch_tp_plugin=torch_tp_plugin,
            megatron_lm_plugin=megatron_lm_plugin,
            parallelism_config=parallelism_config,
        )
        self.__dict__ = self._shared_state
        cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or cpu
        if self._shared_state:
            self._check_same(mixed_precision, cpu)
        elif not _from_accelerator:
            raise ValueError(
                "Please make sure to properly initialize your accelerator via "
                "`accelerator = Accelerator()` before using any functionality from the "
                "`accelerate` library."
            )
        if mixed_precision is None:
            mixed_precision = parse_choice_from_env("ACCELERATE_MIXED_PRECISION", "no")
        PartialState(cpu, **kwargs)
        first = not self._shared_state
        self._shared_state.update(PartialState._shared_state)
        if first:
            self._shared_state.update(
                deepspeed_plugins=None,
                torch_tp_plugin=None,
                parallelism_config=None,
                device_mesh=None,
                dynamo_plugin=None,
                _mixed_precision=mixed_precision.lower(),
            )

    def _check_same(self, mixed_precision: str | None, cpu: bool) -> None:
        """Refuses arguments that the state, which is set up, does not follow."""
        flag = None
        if cpu and self.device.type != "cpu":
            flag = "cpu=True"
        elif mixed_precision is not None and mixed_precision != self._mixed_precision:
            flag = f"mixed_precision='{mixed_precision}'"
        if flag is not None:
            raise ValueError(
                "AcceleratorState has already been initialized and cannot be changed, "
                f"restart your runtime completely and pass `{flag}` to `Accelerator()`."
            )

    def __repr__(self) -> str:
        return f"{PartialState()!r}\nMixed precision type: {self.mixed_precision}\n"

    @staticmethod
    def _reset_state(reset_partial_state: bool = False) -> None:
        """Forgets this state, and `PartialState`'s too if asked."""
        AcceleratorState._shared_state.clear()
        if reset_partial_state:
            PartialState._reset_state()

    @property
    def initialized(self) -> bool:
        """Whether the state is set up."""
        return self._shared_state != PartialState._shared_state

    @property
    def mixed_precision(self) -> str:
        """The precision to work in: no, fp8, fp16 or bf16."""
        return self._mixed_precision

    def destroy_process_group(self, group=None) -> None:
        """As `PartialState.destroy_process_group`."""
        PartialState().destroy_process_group(group)


def refuse_training(**arguments) -> None:
    """Raises for the first argument that was given: all are for training alone."""
    for name, value in arguments.items():
        if value is not None:
            raise NotImplementedError(
                f"{name} is for training, and pyaccel is for inference: leave it out, "
                "or use accelerate for this program"
            )


def _set_up(cpu: bool, options: dict[str, Any]) -> dict[str, Any]:
    """The state of a process that has joined its group; waits for the others."""
    device_name = os.environ.get("ACCELERATE_TORCH_DEVICE")
    debug = parse_flag_from_env("ACCELERATE_DEBUG_MODE")
    # The launcher's --cpu reaches its processes by this variable.
    cpu = cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
    options = dict(options)
    refuse_training(_use_sagemaker_dp=options.pop("_use_sagemaker_dp", None))
    asked_backend = options.pop("backend", None)
    world = find_world(options.pop("rank", None), options.pop("world_size", None))

    import torch

    backend: str | None = None
    distributed_type = DistributedType.NO
    if world.size > 1 or (world.torchrun and _works_on_one_kind(cpu)):
        distributed_type, backend = _kind_of_group(world, cpu, asked_backend)
    if device_name is not None:
        device = torch.device(device_name)
    else:
        device = _device(distributed_type, cpu, world.local_rank)
    _check_gpus(device, distributed_type)
    if parse_flag_from_env("ACCELERATE_CPU_AFFINITY"):
        set_numa_affinity(world.local_rank)
    _gpu_libraries.prepare()
    _group.join(world, backend, options, device)
    return {
        "_cpu": cpu,
        "backend": backend,
        "debug": debug,
        "device": device,
        "distributed_type": distributed_type,
        "local_process_index": world.local_rank,
        "num_processes": world.size,
        "process_index": world.rank,
    }


def _works_on_one_kind(cpu: bool) -> bool:
    """Whether a process alone knows what it works on: told the CPU, or there is more.

    As in accelerate, where it decides whether torchrun's only process has a group.
    """
    from ._devices import find_accelerator

    return cpu or find_accelerator() is not None


def _kind_of_group(
    world: World, cpu: bool, asked: str | None
) -> tuple[DistributedType, str]:
    """What the processes work on, and torch.distributed's backend for it."""
    import torch

    from ._devices import find_accelerator, group_backend

    kind = None if cpu else find_accelerator()
    if torch.distributed.is_initialized():
        # The script's own group; it may well be on another backend than ours would be,
        # or made without naming one, which torch calls undefined.
        backend = torch.distributed.get_backend()
        if backend == "undefined":
            backend = group_backend(kind, asked)
        if asked not in (None, backend):
            raise ValueError(
                f"Your assigned backend {asked} is not available, please use {backend}"
            )
    else:
        backend = group_backend(kind, asked)
    if kind is not None:
        return kind.distributed_type, backend
    if not os.environ.get("OMP_NUM_THREADS"):
        # Each process would else compute with as many threads as there are cores.
        torch.set_num_threads(max(1, int(_C.usable_cpus() / world.local_size)))
    return DistributedType.MULTI_CPU, backend


def _device(distributed_type: DistributedType, cpu: bool, local_rank: int):
    """The device that a process of this kind works on."""
    import torch

    from ._devices import default_device, device_of

    if distributed_type != DistributedType.NO:
        return device_of(distributed_type, local_rank)
    return torch.device("cpu") if cpu else default_device()


def _check_gpus(device: torch.device, distributed_type: DistributedType) -> None:
    """Refuses a group on GPUs that say they reach each other, and do not.

    As in accelerate, but not to a process that works alone and so has nobody to reach.
    """
    if device.type != "cuda" or distributed_type == DistributedType.NO:
        return
    told = all(name in os.environ for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"))
    if not told and not check_cuda_p2p_ib_support():
        raise NotImplementedError(
            "Using RTX 4000 series doesn't support faster communication broadband via "
            "P2P or IB. Please set `NCCL_P2P_DISABLE=1` and `NCCL_IB_DISABLE=1`, or "
            "install a driver of version 550.40.07 or newer."
        )


class _NotSet:
    """Stands on a class for an attribute that its instances have once they are set up.

    A `__getattr__` would say the same, but every look-up on the class, also of what is
    there, is slower beside one.
    """

    def __init__(self, owner: str, name: str) -> None:
        self._text = (
            f"`{owner}` object has no attribute `{name}`. This happens if "
            f"`{owner}._reset_state()` was called and an `Accelerator` or "
            "`PartialState` was not reinitialized."
        )

    def __get__(self, instance, owner=None):
        raise AttributeError(self._text)


for _owner in (PartialState, AcceleratorState):
    for _name in _owner._known_attrs:
        if _name not in vars(_owner):
            setattr(_owner, _name, _NotSet(_owner.__name__, _name))
