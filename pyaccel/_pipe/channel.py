"""Messages from one rank to another, in order, of which sending does not wait.

What a message says beside its tensor or object: of which call it is (`epoch`), all that
its sender did in it so far (`digest`), and where it was in the model (`place`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from .. import _C

DATA, TOLD, FINAL = range(3)


class Message(NamedTuple):
    """One message; `body` is a tensor, what was told, or how an attempt ended."""

    kind: int
    epoch: int
    digest: int
    place: str
    body: Any


class Channels:
    """This rank's ends of the channels to and from all others."""

    def __init__(self, comm: _C.Comm):
        self.rank = comm.rank
        self.size = comm.size
        self.comm = comm

    def send(self, to: int, message: Message) -> None:
        """Sends a message; what it holds may be changed afterwards."""
        if message.kind == DATA:
            message = message._replace(body=message.body.detach().cpu())
        self.comm.send_object(tuple(message), to)

    def receive(self, source: int, device: torch.device) -> Message:
        """Waits for the next message of a rank."""
        message = Message(*self.comm.recv_object(source))
        if message.kind == DATA:
            message = message._replace(body=message.body.to(device))
        return message
