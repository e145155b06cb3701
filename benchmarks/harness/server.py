"""A library's server process: imports the library once, then forks groups of ranks.

    python -m benchmarks.harness.server LIBRARY FD

FD is the socket to the benchmark's main process. Orders are
("open", ranks), ("close",) and, for all ranks of the open group, ("all", name, ...).
Ranks find the variables that any launcher sets; none is told which library it serves.
The server ends, and with it its ranks, when the main process does.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import traceback
from multiprocessing.connection import Connection, Pipe, wait

from benchmarks.harness import rank as worker


class Group:
    """The ranks that are alive, by their pipes."""

    def __init__(self, library: str, ranks: int, main: Connection) -> None:
        self.pids: list[int] = []
        self.pipes: list[Connection] = []
        port = free_port()
        for rank in range(ranks):
            ours, theirs = Pipe()
            pid = os.fork()
            if pid == 0:
                # A pipe that a sister also held open would never end.
                for other in [*self.pipes, ours, main]:
                    other.close()
                rank_main(theirs, library, rank, ranks, port)
            theirs.close()
            self.pids.append(pid)
            self.pipes.append(ours)

    def order(self, order: tuple, main: Connection) -> tuple[str, object]:
        """Give one order to all ranks; their answers, or the first failure."""
        for rank, pipe in enumerate(self.pipes):
            try:
                pipe.send(order)
            except ConnectionError:
                return "failed", f"rank {rank} ended before {order[0]}"
        answers: dict[Connection, object] = {}
        while len(answers) < len(self.pipes):
            for ready in wait([main, *(p for p in self.pipes if p not in answers)]):
                if ready is main:
                    raise EOFError("the main process ended, or spoke out of turn")
                try:
                    kind, value = ready.recv()
                except (EOFError, ConnectionError):
                    dead = self.pipes.index(ready)
                    return "failed", f"rank {dead} ended in the middle of {order[0]}"
                if kind == "failed":
                    return kind, value
                answers[ready] = value
        return "ok", [answers[pipe] for pipe in self.pipes]

    def close(self) -> None:
        """End all ranks; one that hangs in a collective is ended too."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self.pids:
            os.waitpid(pid, 0)
        for pipe in self.pipes:
            pipe.close()
        self.pids, self.pipes = [], []


def rank_main(
    orders: Connection, library: str, rank: int, ranks: int, port: int
) -> None:
    """The life of a forked rank; never returns."""
    status = 1
    try:
        os.environ.update(
            RANK=str(rank),
            WORLD_SIZE=str(ranks),
            LOCAL_RANK=str(rank),
            LOCAL_WORLD_SIZE=str(ranks),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
        worker.serve(orders, library, rank, ranks)
        status = 0
    finally:
        # Without the parent's clean-up, which would run once for every rank.
        os._exit(status)


def free_port() -> int:
    """A port that was free a moment ago; rank 0 opens it within milliseconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def import_all(library: str) -> None:
    """Import what every rank needs. Only names are touched: no thread may start, and
    no state may be made, before the ranks are forked."""
    if library == worker.TORCH:
        importlib.import_module("torch.distributed")
    elif library != worker.PLAIN:
        importlib.import_module("torch")
        module = importlib.import_module(library)
        operations = importlib.import_module(f"{library}.utils")
        for name in worker.OPERATIONS:
            getattr(operations, name)
        _ = module.PartialState


def serve(main: Connection, library: str) -> None:
    """Carry out orders until the main process ends."""
    try:
        import_all(library)
    except Exception:
        main.send(("failed", traceback.format_exc()))
        return
    group: Group | None = None
    try:
        while True:
            name, *arguments = main.recv()
            if name == "open":
                group = Group(library, arguments[0], main)
                main.send(("ok", None))
            elif name == "close":
                group.close()
                group = None
                main.send(("ok", None))
            else:
                main.send(group.order(tuple(arguments), main))
    except EOFError:
        pass
    finally:
        if group is not None:
            group.close()


if __name__ == "__main__":
    serve(Connection(int(sys.argv[2])), sys.argv[1])
