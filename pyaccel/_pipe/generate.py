"""`generate` of a prepared model: the library's own loop, unchanged, on every rank.

The batch is cut into as many parts as there are stages, each with a loop of its own, so
that while one part is on another rank the next one is here. Tokens are on all ranks as
soon as they are chosen, and so is the result. Where rows depend on one another, on the
clock, or on somebody who watches, the batch stays whole.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import torch

from . import session
from .baton import Baton
from .chunks import Chunk, Cut
from .link import Link
from .merge import Outline, merge
from .prepared import Prepared
from .session import MAIN, Inputs

# With one of these the batch is not cut.
_WHOLE = (
    "streamer",
    "assistant_model",
    "custom_generate",
    "max_time",
    "prompt_lookup_num_tokens",
    "return_dict_in_generate",
)


# Methods of models of transformers and diffusers that are called beside forward.
_OTHERS = (
    "encode",
    "decode",
    "get_text_features",
    "get_image_features",
    "get_audio_features",
)


def wrap_methods(prepared: Prepared) -> None:
    """Has methods of the model that run its parts be calls of all ranks together."""
    if hasattr(prepared.model, "generate"):
        _wrap(prepared, "generate", lambda run: _Generate(prepared, run).attempt)
    for name in _OTHERS:
        if callable(getattr(prepared.model, name, None)):
            _wrap(prepared, name, lambda run: _Whole(prepared, run).attempt)


def _wrap(prepared: Prepared, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(prepared.model, name)

    @functools.wraps(original)
    def method(*args, **kwargs):
        link = prepared.link
        if link.calls:
            return original(*args, **kwargs)
        prepared.check_gradients()
        attempt = make(original)
        return session.call(link, (args, kwargs), attempt, prepared.learn, None)

    setattr(prepared.model, name, method)


class _Whole:
    """A call of a method with the whole batch, of which all ranks get the result."""

    def __init__(self, prepared: Prepared, original: Callable[..., Any]):
        self._prepared = prepared
        self._original = original

    def attempt(self, inputs: Inputs) -> Any:
        """The result, on every rank."""
        prepared = self._prepared
        output = prepared.followed(self._original, inputs.args, inputs.kwargs)
        outline = Outline(output)
        outline.route(self._prepared.link, everywhere=True)
        self._prepared.keep_caches([outline], [1])
        return merge([outline], [1], [])


class _Generate:
    """One call of `generate`, for as many attempts as it takes."""

    def __init__(self, prepared: Prepared, original: Callable[..., Any]):
        self._prepared = prepared
        self._link = prepared.link
        self._original = original

    def attempt(self, inputs: Inputs) -> Any:
        """The result, on every rank."""
        link = self._link
        kwargs = self._settled(inputs.kwargs)
        chunks, rows = self._chunks(inputs.args, kwargs)
        link.deciding = True
        try:
            if len(chunks) == 1:
                outputs = [self._one(chunks[0])]
            else:
                outputs = self._interleaved(chunks)
        finally:
            link.deciding = False
        outlines = [Outline(output) for output in outputs]
        for outline in outlines:
            outline.route(link, everywhere=True)
        self._prepared.keep_caches(outlines, rows)
        if len(outlines) == 1:
            return merge(outlines, rows, [])
        return self._joined(outlines, kwargs)

    def _one(self, chunk: Chunk) -> Any:
        return self._prepared.followed(self._original, chunk.args, chunk.kwargs)

    def _interleaved(self, chunks: list[Chunk]) -> list[Any]:
        link = self._link
        baton = Baton(len(chunks))
        link.give_way = baton.give_way
        try:
            return baton.run([functools.partial(self._one, each) for each in chunks])
        finally:
            link.give_way = None

    def _settled(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments with what ranks must decide alike."""
        kwargs = dict(kwargs)
        known = inspect.signature(self._original).parameters
        if "synced_gpus" in known:
            kwargs["synced_gpus"] = False
        if self._link.device.type != "cpu" and self._config(kwargs) is not None:
            # Compiled code would not see placeholders.
            kwargs.setdefault("disable_compile", True)
        limit = self._setting(kwargs, "max_time")
        if limit is not None:
            kwargs["max_time"] = None
            criteria = list(kwargs.get("stopping_criteria") or ())
            kwargs["stopping_criteria"] = [*criteria, _Clock(self._link, limit)]
            kwargs["stopping_criteria"] = _criteria(kwargs["stopping_criteria"])
        return kwargs

    def _config(self, kwargs: dict[str, Any]) -> Any:
        return kwargs.get("generation_config") or getattr(
            self._prepared.model, "generation_config", None
        )

    def _setting(self, kwargs: dict[str, Any], name: str) -> Any:
        """An option of generate: an argument, or a part of its configuration."""
        if kwargs.get(name) is not None:
            return kwargs[name]
        return getattr(self._config(kwargs), name, None)

    def _chunks(self, args, kwargs) -> tuple[list[Chunk], list[int]]:
        prepared = self._prepared
        cut = Cut(args, kwargs, prepared.chunk_spec, self._original, None)
        whole = prepared.whole or any(self._setting(kwargs, name) for name in _WHOLE)
        if whole or cut.batch is None:
            return cut.into(1)
        return prepared.chunks(cut, min(prepared.num_chunks, self._link.size))

    def _joined(self, outlines: list[Outline], kwargs: dict[str, Any]) -> Any:
        """The results of all chunks: rows of tokens, padded to the longest."""
        outputs = [merge([each], [1], []) for each in outlines]
        if not all(isinstance(each, torch.Tensor) and each.dim() for each in outputs):
            raise self._prepared.as_whole(
                "what it generates cannot be put together from parts"
            )
        if len({each.shape[1:] for each in outputs}) == 1:
            return torch.cat(outputs)
        pad = self._padding(kwargs)
        if pad is None or any(each.dim() != 2 for each in outputs):
            raise self._prepared.as_whole(
                "parts of what it generates have different lengths, and nothing says "
                "how to pad them"
            )
        longest = max(each.shape[1] for each in outputs)
        return torch.cat(
            [
                torch.nn.functional.pad(each, (0, longest - each.shape[1]), value=pad)
                for each in outputs
            ]
        )

    def _padding(self, kwargs: dict[str, Any]) -> int | None:
        pad = self._setting(kwargs, "pad_token_id")
        if pad is None:
            pad = self._setting(kwargs, "eos_token_id")
        return pad[0] if isinstance(pad, (list, tuple)) else pad


def _criteria(items: list[Any]) -> Any:
    from transformers import StoppingCriteriaList

    return StoppingCriteriaList(items)


class _Clock:
    """Stops a loop after so many seconds by the main process' clock."""

    def __init__(self, link: Link, limit: float):
        self._link = link
        self._limit = limit
        self._began = time.monotonic()

    def __call__(self, input_ids, scores, **kwargs):
        """Whether each row is done: all are, or none."""
        passed = time.monotonic() - self._began > self._limit
        passed = self._link.tell(MAIN, passed)
        return torch.full(
            (input_ids.shape[0],), passed, device=input_ids.device, dtype=torch.bool
        )
