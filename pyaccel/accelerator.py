"""`Accelerator`: what a script of accelerate's holds instead of the state itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ._process import ProcessMembers
from .state import AcceleratorState, PartialState, refuse_training
from .utils.dataclasses import (
    DistributedType,
    InitProcessGroupKwargs,
    KwargsHandler,
    PrecisionType,
)
from .utils.operations import gather

if TYPE_CHECKING:
    import torch

# Tells a value that nobody passed from any that one may pass.
_split_batches = object()


class Accelerator(ProcessMembers):
    """The distributed members of accelerate's class, for inference.

    The arguments are accelerate's. Those that serve only training, or what this class
    does not offer, raise NotImplementedError when they are given.
    """

    def __init__(  # noqa: PLR0917 - accelerate's order
        self,
        device_placement: bool = True,
        split_batches: bool = _split_batches,  # type: ignore[assignment]
        mixed_precision: PrecisionType | str | None = None,
        gradient_accumulation_steps: int = 1,
        cpu: bool = False,
        dataloader_config=None,
        deepspeed_plugin=None,
        fsdp_plugin=None,
        torch_tp_plugin=None,
        megatron_lm_plugin=None,
        rng_types=None,
        log_with=None,
        project_dir=None,
        project_config=None,
        gradient_accumulation_plugin=None,
        step_scheduler_with_optimizer: bool = True,
        kwargs_handlers: list[KwargsHandler] | None = None,
        dynamo_backend=None,
        dynamo_plugin=None,
        deepspeed_plugins=None,
        parallelism_config=None,
    ):
        refuse_training(
            split_batches=None if split_batches is _split_batches else split_batches,
            gradient_accumulation_steps=_unless(1, gradient_accumulation_steps),
            dataloader_config=dataloader_config,
            deepspeed_plugin=deepspeed_plugin,
            fsdp_plugin=fsdp_plugin,
            torch_tp_plugin=torch_tp_plugin,
            megatron_lm_plugin=megatron_lm_plugin,
            rng_types=rng_types,
            log_with=log_with,
            project_dir=project_dir,
            project_config=project_config,
            gradient_accumulation_plugin=gradient_accumulation_plugin,
            step_scheduler_with_optimizer=_unless(True, step_scheduler_with_optimizer),
            dynamo_backend=dynamo_backend,
            dynamo_plugin=dynamo_plugin,
            deepspeed_plugins=deepspeed_plugins,
            parallelism_config=parallelism_config,
        )
        if mixed_precision is not None:
            mixed_precision = str(mixed_precision)
            if mixed_precision not in PrecisionType:
                raise ValueError(
                    f"Unknown mixed_precision mode: {mixed_precision}. Choose between "
                    f"{PrecisionType.list()}"
                )
        self.device_placement = device_placement
        self.init_handler = _init_handler(kwargs_handlers or [])
        self.state = AcceleratorState(
            mixed_precision=mixed_precision,
            cpu=cpu,
            _from_accelerator=True,
            **({} if self.init_handler is None else self.init_handler.to_kwargs()),
        )

    @property
    def distributed_type(self) -> DistributedType:
        """How the processes work together."""
        return self.state.distributed_type

    @property
    def num_processes(self) -> int:
        """How many processes there are."""
        return self.state.num_processes

    @property
    def process_index(self) -> int:
        """This process' number among all."""
        return self.state.process_index

    @property
    def local_process_index(self) -> int:
        """This process' number on its host."""
        return self.state.local_process_index

    @property
    def device(self) -> torch.device:
        """The device that this process works on."""
        return self.state.device

    @property
    def mixed_precision(self) -> str:
        """The precision to work in: no, fp8, fp16 or bf16."""
        return self.state.mixed_precision

    @property
    def multi_device(self) -> bool:
        """Whether there are several processes, each on its own accelerator."""
        on_cpus = self.distributed_type == DistributedType.MULTI_CPU
        return self.use_distributed and not on_cpus

    def on_main_process(self, function: Callable[..., Any] | None = None):
        """Decorates a function of the main process alone; decided at each call."""
        return _decided_at_call("on_main_process", function)

    def on_local_main_process(self, function: Callable[..., Any] | None = None):
        """Decorates a function that the first process of each host runs."""
        return _decided_at_call("on_local_main_process", function)

    def on_last_process(self, function: Callable[..., Any]):
        """Decorates a function that only the last process runs."""
        return _decided_at_call("on_last_process", function)

    def on_process(
        self,
        function: Callable[..., Any] | None = None,
        process_index: int | None = None,
    ):
        """Decorates a function that only the process of that index runs."""
        if function is None and process_index is not None:
            return partial(self.on_process, process_index=process_index)
        return _decided_at_call("on_process", function, process_index)

    def on_local_process(
        self,
        function: Callable[..., Any] | None = None,
        local_process_index: int | None = None,
    ):
        """Decorates a function that the process of that index on each host runs."""
        if function is None and local_process_index is not None:
            return partial(
                self.on_local_process, local_process_index=local_process_index
            )
        return _decided_at_call("on_local_process", function, local_process_index)

    def gather(self, tensor):
        """As `pyaccel.utils.gather`."""
        return gather(tensor)


def _unless(default, value):
    """None for the default: what nobody asked for is not refused."""
    return None if value == default else value


def _init_handler(handlers: list[KwargsHandler]) -> InitProcessGroupKwargs | None:
    """The one kind of handler that serves inference, if it is among them."""
    found: InitProcessGroupKwargs | None = None
    for handler in handlers:
        if not isinstance(handler, KwargsHandler):
            raise AssertionError(
                f"Unsupported kwargs handler passed: {handler}, must be one that "
                "inherits `pyaccel.utils.KwargsHandler`."
            )
        if not isinstance(handler, InitProcessGroupKwargs):
            refuse_training(**{type(handler).__name__: handler})
        elif found is not None:
            raise ValueError(
                f"You can only pass one {type(handler)} in `kwargs_handlers`."
            )
        else:
            found = handler
    return found


def _decided_at_call(member: str, function, *arguments):
    """A function that asks the state, at each call, whether it runs here."""
    if function is None:
        raise ValueError(
            f"The `{member}` decorator must be called with a function on an "
            "instantiated `Accelerator` object."
        )

    @functools.wraps(function)
    def decided(*args, **kwargs):
        chosen = getattr(PartialState(), member)(function, *arguments)
        return chosen(*args, **kwargs)

    return decided
