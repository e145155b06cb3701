"""Messages from one rank to another, in order, of which sending does not wait.

What a message says beside its tensor or object: of which call it is (`epoch`), all that
its sender did in it so far (`digest`), and where it was in the model (`place`).
"""

from __future__ import annotations

import pickle
import struct
from typing import Any, NamedTuple

import torch
from torch import distributed

from .. import _C, _objects

_BLOCK = 1024  # bytes that every message begins with
_LENGTHS = struct.Struct("<QQ")

DATA, TOLD, FINAL = range(3)


class Message(NamedTuple):
    """One message; `body` is a tensor (flat and of bytes, received), or was told."""

    kind: int
    epoch: int
    digest: int
    place: str
    body: Any
    stride: tuple[int, ...] = ()  # of the sender's tensor


class Channels:
    """This rank's ends of the channels to and from all others."""

    def __init__(self, comm: _C.Comm):
        self.rank = comm.rank
        self.size = comm.size
        self.comm = comm
        self._group = distributed.new_group(backend="gloo")
        self._sent: list[tuple[Any, torch.Tensor]] = []

    def send(self, to: int, message: Message) -> None:
        """Sends a message; what it holds may be changed afterwards."""
        body = message.body
        if message.kind != DATA:
            buffers: list[Any] = []
            body = _objects.dumps(message.body, buffers)
            body = pickle.dumps((body, [bytes(each) for each in buffers]))
            flat = torch.frombuffer(bytearray(body), dtype=torch.uint8)
        else:
            message = message._replace(stride=tuple(body.stride()))
            flat = body.contiguous().reshape(-1).view(torch.uint8)
        head = pickle.dumps(message._replace(body=None))
        start = torch.frombuffer(
            bytearray(_LENGTHS.pack(len(head), flat.numel()) + head), dtype=torch.uint8
        )
        whole = torch.cat([start, flat.cpu()])
        if whole.numel() <= _BLOCK:
            self._isend(torch.nn.functional.pad(whole, (0, _BLOCK - whole.numel())), to)
        else:
            self._isend(whole[:_BLOCK], to)
            self._isend(whole[_BLOCK:], to)

    def receive(self, source: int) -> Message:
        """Waits for the next message of a rank."""
        block = torch.empty(_BLOCK, dtype=torch.uint8)
        self._recv(block, source)
        nhead, nbody = _LENGTHS.unpack(block[: _LENGTHS.size].numpy().tobytes())
        total = _LENGTHS.size + nhead + nbody
        if total > _BLOCK:
            rest = torch.empty(total - _BLOCK, dtype=torch.uint8)
            self._recv(rest, source)
            block = torch.cat([block, rest])
        behind = _LENGTHS.size + nhead
        head = pickle.loads(block[_LENGTHS.size : behind].numpy().tobytes())
        body: Any = block[behind:total].clone()
        if head.kind != DATA:
            first, buffers = pickle.loads(body.numpy().tobytes())
            body = pickle.loads(first, buffers=buffers)
        return head._replace(body=body)

    def flush(self) -> None:
        """Waits until everything that was sent has been taken."""
        for work, _ in self._sent:
            work.wait()
        self._sent.clear()

    def _isend(self, tensor: torch.Tensor, to: int) -> None:
        work = distributed.isend(tensor, to, group=self._group)
        self._sent = [each for each in self._sent if not each[0].is_completed()]
        self._sent.append((work, tensor))

    def _recv(self, tensor: torch.Tensor, source: int) -> None:
        try:
            distributed.recv(tensor, source, group=self._group)
        except RuntimeError as error:
            raise _C.DistributedPeerError(
                f"pipeline: rank {source} ended or left while rank {self.rank} waited "
                "for it"
            ) from error
