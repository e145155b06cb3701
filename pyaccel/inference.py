"""Pipelines: a model whose parts stand on several processes, under accelerate's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from .state import PartialState
from .utils.operations import ignorant_find_batch_size

__all__ = ["find_pippy_batch_size", "prepare_pippy"]


def find_pippy_batch_size(args, kwargs):
    """The first dimension of the first tensor in the arguments, or None."""
    values = [*(args or ()), *(kwargs or {}).values()]
    sizes = (ignorant_find_batch_size(value) for value in values)
    return next((size for size in sizes if size is not None), None)


def prepare_pippy(  # noqa: PLR0917 - accelerate's order
    model: nn.Module,
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
    `gather_output`. Batches of any size and any other inputs may follow.

    `split_points` are names of modules that begin a stage, or "auto" for stages of even
    size. `no_split_module_classes` names classes of modules that one process runs as a
    whole. With `example_args` and `example_kwargs` one chunk of these is run first, to
    see the order of the parts; that is not required.

    `placement` says what is to be even: "bytes" of parameters, or the "time" that the
    parts took on the example. `chunk_spec` says for inputs by name which dimension
    counts the samples; None: the input goes to every chunk whole.
    """
    state = PartialState()
    if num_chunks is None:
        num_chunks = state.num_processes
    if state.num_processes == 1:
        return model
    from ._pipe.generate import wrap
    from ._pipe.prepare import prepare

    prepared = prepare(
        model,
        split_points or "auto",
        no_split_module_classes or (),
        (tuple(example_args or ()), dict(example_kwargs or {})),
        num_chunks,
        bool(gather_output),
        chunk_spec=chunk_spec,
        placement=placement,
    )
    model._original_forward = model.forward
    model._original_call = model.__call__
    model.pippy_stage = prepared
    model.hf_split_points = prepared.begins

    def forward(*args, **kwargs):
        return prepared(*args, **kwargs)

    # As a decorator's, for extract_model_from_parallel and for inspect.signature.
    forward.__wrapped__ = model._original_forward
    model.forward = forward
    if hasattr(model, "generate"):
        wrap(prepared, "generate")
    return model
