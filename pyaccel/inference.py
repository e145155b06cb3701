"""Pipelines: models whose parts stand on several processes, by accelerate's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from torch import nn

from .state import PartialState
from .utils.operations import copy_tensor_to_devices, ignorant_find_batch_size
from .utils.other import has_compiled_regions

__all__ = [
    "build_pipeline",
    "explain",
    "find_pippy_batch_size",
    "generate_device_map",
    "pippy_forward",
    "prepare_pippy",
]

_PLACEMENTS = ("bytes", "time")


def generate_device_map(
    model, num_processes: int = 1, no_split_module_classes=None, max_memory=None
):
    """The stage of each part of a model, by its name, in stages of even size.

    `max_memory`, bytes by stage, is not to be exceeded by any.
    """
    from ._pipe.prepare import stages_by_bytes

    no_split = no_split_module_classes or ()
    stages, sizes = stages_by_bytes(model, num_processes, no_split)
    for stage, limit in (max_memory or {}).items():
        if sizes.get(stage, 0) > limit:
            raise ValueError(
                f"stage {stage} of {type(model).__name__} has {sizes[stage]} bytes, "
                f"and max_memory allows {limit}: use more processes"
            )
    return stages


def find_pippy_batch_size(args, kwargs):
    """The first dimension of the first tensor in the arguments, or None."""
    values = [*(args or ()), *(kwargs or {}).values()]
    sizes = (ignorant_find_batch_size(value) for value in values)
    return next((size for size in sizes if size is not None), None)


def build_pipeline(model, split_points, args, kwargs, num_chunks):
    """Places a model's parts as `prepare_pippy` does, but leaves its calls.

    Returns what `prepare_pippy` keeps as `model.pippy_stage`; its `step` is the call.
    """
    return _prepare(model, split_points, None, (args, kwargs), num_chunks)


def pippy_forward(forward, num_chunks, gather_output, *args, **kwargs):
    """Calls a pipeline's `step`; with `gather_output`, copies the result to all.

    Into how many chunks the inputs are cut is the pipeline's own.
    """
    output = forward(*args, **kwargs)
    return copy_tensor_to_devices(output) if gather_output else output


def prepare_pippy(  # noqa: PLR0917 - accelerate's order
    model,
    split_points: str | Sequence[str] | None = "auto",
    no_split_module_classes: Sequence[str] | None = None,
    example_args: tuple[Any, ...] | None = (),
    example_kwargs: dict[str, Any] | None = None,
    num_chunks: int | None = None,
    gather_output: bool | None = False,
    *,
    placement: str = "bytes",
    chunk_spec: Mapping[str, int | None] | None = None,
):
    """Places the parts of a model on all processes, and returns it ready to be called.

    Every process calls this with the same model, keeps its own part of the parameters
    and afterwards calls the model; the main process' inputs count. The batch is cut
    into `num_chunks` chunks (as many as processes by default), so that processes work
    at once. The output is on the last process, None elsewhere, or on all with
    `gather_output`. Batches of any size and any other inputs may follow. `generate` and
    methods such as `encode` and `decode` are called by all processes too, and give
    their result to all.

    `split_points` are names of modules that begin a stage, or "auto" for stages of even
    size. `no_split_module_classes` names classes of modules that one process runs as a
    whole. With `example_args` and `example_kwargs` one chunk of these is run first, to
    see the order of the parts; that is not required.

    `placement` says what is to be even: "bytes" of parameters, or the "time" that the
    parts took on the example. `chunk_spec` says for inputs by name which dimension
    counts the samples; None: the input goes to every chunk whole.
    """
    state = PartialState()
    stage = None
    if state.num_processes > 1:
        stage = _prepare(
            model,
            split_points,
            no_split_module_classes,
            (example_args, example_kwargs),
            state.num_processes if num_chunks is None else num_chunks,
            gather_output=bool(gather_output),
            placement=placement,
            chunk_spec=chunk_spec,
        )
    else:
        _check(model, split_points, num_chunks, placement)
    model._original_forward = model.forward
    model._original_call = model.__call__
    model.pippy_stage = stage
    model.hf_split_points = [] if stage is None else stage.split_points
    if stage is not None:
        from ._pipe.generate import wrap_methods

        # As a decorator's, for extract_model_from_parallel and for inspect.signature.
        @wraps(model._original_forward)
        def forward(*args, **kwargs):
            return stage(*args, **kwargs)

        model.forward = forward
        wrap_methods(stage)
    return model


def explain(model) -> None:
    """Prints which process has which parts of a prepared model, and why.

    The main process prints.
    """
    stage = getattr(model, "pippy_stage", None)
    if not hasattr(model, "pippy_stage"):
        raise ValueError(
            f"{type(model).__name__} was not prepared: pass it to prepare_pippy first"
        )
    if not PartialState().is_main_process:
        return
    if stage is None:
        print("all of the model is in the only process")
        return
    from ._pipe.explain import explain as described

    print(described(stage))


def _prepare(  # noqa: PLR0917 - prepare_pippy's arguments
    model, split_points, no_split, example, num_chunks, gather_output=False, **own
):
    """The stage of a model after what it is given has been looked at."""
    from ._pipe.prepare import Options, prepare

    placement = own.get("placement", "bytes")
    _check(model, split_points, num_chunks, placement)
    args, kwargs = example
    options = Options(
        split_points="auto" if split_points is None else split_points,
        no_split=no_split or (),
        args=tuple(args or ()),
        kwargs=dict(kwargs or {}),
        num_chunks=num_chunks,
        gather_output=gather_output,
        placement=placement,
        chunk_spec=own.get("chunk_spec"),
    )
    return prepare(model, options)


def _check(model, split_points, num_chunks, placement) -> None:
    """Refuses, on every process alike, what cannot be prepared."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__} and not a torch.nn.Module: of a "
            "diffusers pipeline, prepare its unet or transformer"
        )
    if hasattr(model, "pippy_stage"):
        raise ValueError(
            f"{type(model).__name__} was prepared before: make a new model to place it "
            "otherwise"
        )
    if has_compiled_regions(model):
        raise ValueError(
            f"{type(model).__name__} was compiled, which takes its parts' calls out of "
            "sight: prepare it first, as model._orig_mod, and compile its blocks then"
        )
    if (
        getattr(model, "hf_device_map", None) is not None
        and len(model.hf_device_map) > 1
    ):
        raise ValueError(
            f"{type(model).__name__} stands on several devices by its device_map: load "
            "it without one"
        )
    if isinstance(split_points, str) and split_points != "auto":
        raise ValueError(
            f"split_points is {split_points!r}: pass 'auto' or a list of module names"
        )
    if num_chunks is not None and num_chunks < 1:
        raise ValueError(f"num_chunks is {num_chunks}: pass 1 or more, or None")
    if placement not in _PLACEMENTS:
        raise ValueError(f"placement is {placement!r}: pass 'bytes' or 'time'")
