"""A model that ranks run together: what calling it does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from . import session
from .chunks import CannotCut, Chunk, Cut
from .coarsen import blamed, coarsen
from .kept import Kept
from .link import Absent, Link, Stopped
from .merge import CannotMerge, Outline, is_open, merge, ways
from .session import Again, Inputs
from .tracked import GlueError
from .unit import Mispredicted, Unit

if TYPE_CHECKING:
    from .prepare import Options, Plan


class Prepared:
    """The placement of a model and the way it is called."""

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        name: str,
        model: nn.Module,
        link: Link,
        units: dict[str, Unit],
        plan: Plan,
        options: Options,
    ):
        self.name = name  # the same on every rank
        self.model = model
        self.link = link
        self.units = units
        self.plan = plan
        self.num_chunks = options.num_chunks
        self.gather_output = options.gather_output
        self.chunk_spec = options.chunk_spec
        self.placement = options.placement
        self.named = not isinstance(options.split_points, str)
        self.forward = model.forward
        self.whole = False  # batches go through as one chunk
        self.compares = True  # shapes for different numbers of samples, where needed
        self._confirmed: set[Any] = set()
        self._known_ways: dict[Any, list[int]] = {}
        self._said: set[str] = set()
        link.learners[name] = self

    @property
    def split_points(self) -> list[str]:
        """The unit that each stage but the first begins with."""
        return [self.plan.order[index] for index in self.plan.begins]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward in chunks, with the main process' inputs."""
        link = self.link
        if link.calls:
            # Within `generate` or another model: its placeholders are enough.
            return self.forward(*args, **kwargs)
        self.check_gradients()
        return session.call(
            link, (args, kwargs), self._forward, self.learn, self._confirmed
        )

    step = __call__  # as the schedule's that accelerate has here

    def check_gradients(self) -> None:
        """Refuses training, which would need the way back through other ranks."""
        if torch.is_grad_enabled() and self.model.training:
            raise NotImplementedError(
                "a model prepared by prepare_pippy computes no gradients: call "
                "model.eval(), or run it under torch.no_grad()"
            )

    # ---- One attempt ----

    def _forward(self, inputs: Inputs) -> Any:
        link = self.link
        cut = self._cut(inputs.args, inputs.kwargs)
        chunks, rows = self.chunks(cut, 1 if self.whole else self.num_chunks)
        outlines = []
        for args, kwargs in chunks:
            outlines.append(Outline(self.followed(self.forward, args, kwargs)))
            outlines[-1].route(link, self.gather_output)
        how = self._ways(inputs, cut, outlines, rows)
        self.keep_caches(outlines, rows)
        if self.gather_output or link.rank == link.size - 1:
            return merge(outlines, rows, how)
        return None

    def _cut(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Cut:
        return Cut(args, kwargs, self.chunk_spec, self.forward, self._main_input)

    @property
    def _main_input(self) -> str | None:
        return getattr(self.model, "main_input_name", None)

    def followed(self, called: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Calls a method; where its code cannot be followed, the next attempt will."""
        try:
            return called(*args, **kwargs)
        except GlueError as error:
            module = blamed(self, error.__traceback__)
            if module is None or self.link.failed_in is not None:
                raise
            named = f"{module} of the model" if module else "the model"
            self.say(f"one process runs {named} as a whole, because {error}")
            raise Again((f"coarsen {module}", self.name)) from error

    def chunks(self, cut: Cut, count: int) -> tuple[list[Chunk], list[int]]:
        """The chunks of a call and their samples; one chunk if it cannot be cut."""
        try:
            return cut.into(count)
        except CannotCut as reason:
            self.say(f"the batch goes through as one chunk, because {reason}")
            return cut.into(1)

    def _ways(
        self, inputs: Inputs, cut: Cut, outlines: list[Outline], rows: list[int]
    ) -> list[int]:
        """How the chunks' outputs are merged: found once for inputs of a kind."""
        if len(outlines) == 1:
            return []
        key = (inputs.signature, tuple(rows))
        found = self._known_ways.get(key)
        if found is None:
            beside = None
            alike = len(set(rows)) == 1 and is_open(outlines[0], rows[0])
            if alike and self.compares and not cut.is_bound:
                beside = self._run_beside(inputs, cut, rows[0])
            try:
                found = ways(outlines, rows, beside)
            except CannotMerge as reason:
                raise self.as_whole(str(reason)) from reason
            self._known_ways[key] = found
        return found

    def _run_beside(self, inputs: Inputs, cut: Cut, rows: int) -> tuple[Outline, int]:
        """The output for another number of samples than a chunk has."""
        draws = inputs.new_draws()
        self.link.unsure = True
        count = 1 if rows > 1 else 2
        args, kwargs = cut.first(count)
        try:
            return Outline(self.forward(*args, **kwargs)), count
        except (Stopped, Absent, Mispredicted):
            raise
        except Exception as error:
            # The model refuses so many samples, as some do: nothing to compare with.
            raise Again(("assume", self.name)) from error
        finally:
            draws.reset()

    def as_whole(self, reason: str) -> Exception:
        """What to raise for the next attempt not to cut the batch."""
        self.say(f"the batch goes through as one chunk, because {reason}")
        return Again(("whole", self.name))

    def keep_caches(self, outlines: list[Outline], rows: list[int]) -> None:
        """Has caches stay where they are, behind one object for all chunks."""
        for place in range(len(outlines[0].caches)):
            self.link.kept += 1
            parts = [outline.caches[place] for outline in outlines]
            outlines[0].caches[place] = Kept(self.link.kept, parts, rows)

    # ---- What attempts show ----

    def learn(self, demand: tuple[str, str]) -> None:
        """Does what lets the next attempt go on."""
        kind, target = demand
        self.link.learners[target].demanded(kind)

    def demanded(self, what: str) -> None:
        """Does what an attempt has shown of the model as a whole."""
        if what == "whole":
            self.whole = True
        elif what == "assume":
            self.compares = False
        else:
            coarsen(self, what.removeprefix("coarsen "))
            self._confirmed.clear()

    def say(self, text: str) -> None:
        """One line of the main process, once."""
        if self.link.rank == 0 and text not in self._said:
            self._said.add(text)
            name = type(self.model).__name__
            print(f"pyaccel: prepare_pippy({name}): {text}", file=sys.stderr)
