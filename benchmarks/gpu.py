"""How long does it take until every rank has the tensors of all ranks' GPUs?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.gather import MIB, TENSORS, part
from benchmarks.harness.case import LIBRARIES, Case, Goal, Own, Plain, Trial
from benchmarks.harness.contestants import Contestant, GroupContestant, Server
from benchmarks.harness.rank import BACKEND, TORCH
from benchmarks.harness.session import FLOOR, OURS, Session
from benchmarks.harness.stats import slowest

RANKS = 2
ENQUEUE_NS = 10_000.0
WAYS = "PYACCEL_GPU_WAYS"
# Payloads for the choice of ways: a launch and a wait against a copy by the host.
PAYLOADS = {"64 B": 64, "512 B": 512, "4 KiB": 4096, "16 KiB": 16384, "64 KiB": 65536}
PAYLOADS |= {"256 KiB": 262144}


@dataclass(frozen=True)
class Setting:
    """How the ranks stand on GPUs, and over what all contestants may talk."""

    name: str
    gpus: int
    backend: str  # of torch.distributed, and so of accelerate
    ways: Sequence[str]  # of pyaccel's, each of which is a contestant of its own

    def variables(self) -> dict[str, str]:
        """The environment of the ranks."""
        chosen = {"ACCELERATE_USE_CPU": "false", BACKEND: self.backend}
        # The server forks its ranks: it must not set CUDA up to see a GPU.
        chosen["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        if self.gpus == 1:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
            chosen["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
        return chosen


# NCCL refuses two ranks on one GPU, so accelerate has gloo there, which copies to the
# host and back.
SHARED = Setting("one GPU", 1, "gloo", ("ipc", "staged"))
APART = Setting("a GPU each", RANKS, "nccl", ("nccl", "ipc", "staged"))
SETTINGS = (SHARED, APART)


def settings(gpus: int) -> list[Setting]:
    """The settings that so many GPUs allow."""
    return [setting for setting in SETTINGS if setting.gpus <= gpus]


def waiter(device: Any) -> Callable[[], None]:
    """What waits until the device has done all that was enqueued."""
    import torch

    return partial(getattr(torch, device.type).synchronize, device)


def on(library: Any, rank: int, nbytes: int) -> Any:
    """A rank's tensor on its device."""
    return part(rank, nbytes).to(library.device)


def one_tensor(nbytes: int, wait_within: bool = True) -> Callable[..., Trial]:
    """The trial that gathers one tensor of nbytes a rank; its time ends when the result
    is there, or when the call returns."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        import torch

        release(library)
        mine = on(library, rank, nbytes)

        def right(result: Any) -> bool:
            parts = [on(library, peer, nbytes) for peer in range(ranks)]
            return result.device == mine.device and torch.equal(
                result, torch.cat(parts)
            )

        return timed(library, partial(library.gather, mine), right, wait_within)

    return make


def tree(wait_within: bool = True) -> Callable[..., Trial]:
    """The trial that gathers a dict of many tensors of 512 bytes."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        import torch

        release(library)
        mine = {f"layer{i}": on(library, rank, 512) + i for i in range(TENSORS)}

        def right(result: Any) -> bool:
            expected = torch.cat([on(library, peer, 512) for peer in range(ranks)])
            return list(result) == list(mine) and all(
                torch.equal(leaf, expected + i)
                for i, leaf in enumerate(result.values())
            )

        return timed(library, partial(library.gather, mine), right, wait_within)

    return make


def uneven(nbytes: int) -> Callable[..., Trial]:
    """Each rank has another number of rows: pyaccel gathers them whole, the others pad,
    gather and cut."""

    def make(library: Any, rank: int, ranks: int) -> Trial:
        import torch

        release(library)
        mine = on(library, rank, nbytes * (rank + 1))
        rows = torch.tensor([len(mine)], device=library.device)

        def padded() -> Any:
            whole = library.gather(library.pad_across_processes(mine))
            most = len(whole) // ranks
            counts = library.gather(rows).tolist()
            return torch.cat(
                [whole[i * most : i * most + count] for i, count in enumerate(counts)]
            )

        def right(result: Any) -> bool:
            parts = [on(library, peer, nbytes * (peer + 1)) for peer in range(ranks)]
            return torch.equal(result, torch.cat(parts))

        call = partial(library.gather, mine) if library.name == OURS else padded
        return timed(library, call, right)

    return make


def release(library: Any) -> None:
    """Give back what an earlier case has left: several contestants share the GPU."""
    import torch

    if library.device.type == "cuda":
        torch.cuda.empty_cache()


def timed(
    library: Any,
    call: Callable[[], Any],
    right: Callable[[Any], bool],
    wait_within: bool = True,
) -> Trial:
    """The call with the wait for its result, or with the wait outside of its time."""
    wait = waiter(library.device)

    def call_and_wait() -> Any:
        result = call()
        wait()
        return result

    return Trial(call_and_wait, right) if wait_within else Trial(call, right, wait)


def copies(nbytes: int, times: int) -> Plain:
    """So many copies of nbytes within a GPU, which nobody else uses, and the wait."""

    def make() -> Callable[[], Any]:
        import torch

        source = torch.zeros(nbytes, dtype=torch.uint8, device="cuda")
        result = torch.empty(times * nbytes, dtype=torch.uint8, device="cuda")
        parts = result.split(nbytes)

        def call() -> None:
            for one in parts:
                one.copy_(source)
            torch.cuda.synchronize()

        return call

    return Plain(f"{times} copies by cudaMemcpyAsync, and a wait", make)


def launch() -> Callable[[], Any]:
    """A kernel and the wait for it."""
    import torch

    number = torch.zeros(1, device="cuda")

    def call() -> None:
        number.add_(1)
        torch.cuda.synchronize()

    return call


KERNEL = Plain("a kernel's launch and the wait for it", launch)
# Measured by the contestant torch.distributed, which then has no row of its own.
NCCL = Own("NCCL's all-gather, as torch.distributed calls it")


def cases(setting: Setting) -> list[Case]:
    """All questions of a setting that are timed call by call."""
    alone = setting.gpus == 1
    found = [
        Case(
            "gather of 8 B",
            one_tensor(8),
            floor=KERNEL if alone else NCCL,
            goal=Goal(times=1),
        ),
        *(
            Case(
                f"gather of {name}",
                one_tensor(nbytes),
                floor=copies(nbytes, RANKS) if alone else NCCL,
                goal=Goal(times=1),
            )
            for name, nbytes in {"1 MiB": MIB, "256 MiB": 256 * MIB}.items()
        ),
        Case(
            f"gather of {TENSORS} tensors of 512 B",
            tree(),
            floor=KERNEL,
            goal=Goal(times=10),
        ),
        Case("gather of 1 and 2 MiB", uneven(MIB), goal=Goal(times=1)),
        Case(
            "gather of 8 B, until the call returns",
            one_tensor(8, wait_within=False),
            goal=Goal(plus=ENQUEUE_NS),
        ),
        Case(
            f"gather of {TENSORS} tensors of 512 B, until the call returns",
            tree(wait_within=False),
        ),
        *(
            Case(f"gather of {name}", one_tensor(nbytes), floor=KERNEL)
            for name, nbytes in PAYLOADS.items()
        ),
    ]
    return [named(setting, case) for case in found]


def named(setting: Setting, case: Case) -> Case:
    """The case under the setting's name: ranks find it by that."""
    return Case(
        f"{setting.name}: {case.name}",
        case.make,
        RANKS,
        floor=case.floor,
        goal=case.goal,
    )


def first(setting: Setting) -> Case:
    """The first operation of a group, when state and CUDA are set up."""
    case = Case("the first gather, of 8 B", one_tensor(8), goal=Goal(times=1))
    return named(setting, case)


CASES = tuple(
    case for setting in SETTINGS for case in (*cases(setting), first(setting))
)


class First:
    """A contestant whose sample is the first call of a group that was just made."""

    def __init__(self, server: Server, case: Case) -> None:
        self.server = server
        self.case = case

    def check(self) -> None:
        """A call after the first gives what it should."""
        self.once()
        self.server.order("all", "check")

    def once(self) -> float:
        """Nanoseconds of the first call, on the slowest rank."""
        self.server.open(self.case.ranks, fresh=True)
        self.server.order("all", "prepare", __name__, self.case.name, self.case.ranks)
        return slowest(self.server.order("all", "run", 0, 1))[0]

    def run(self, warm_up: int, samples: int) -> list[float]:
        """So many groups, one after the other."""
        del warm_up
        return [self.once() for _ in range(samples)]


def servers(
    session: Session, setting: Setting, variables: Mapping[str, str]
) -> dict[str, Callable[[], Server]]:
    """The servers by the contestants' names: libraries, torch, and each way of ours."""
    found: dict[str, Callable[[], Server]] = {
        library: partial(session.server, library, variables)
        for library in (*LIBRARIES, TORCH)
    }
    for way in setting.ways:
        name = f"{OURS}, {way}"
        found[name] = partial(session.server, OURS, {**variables, WAYS: way}, name)
    return found


def measure(
    session: Session,
    setting: Setting,
    variables: Mapping[str, str],
    wanted: Callable[[Case], bool] = lambda case: True,
) -> None:
    """All cases of a setting that are wanted."""
    contestants = servers(session, setting, variables)

    def group(server: Callable[[], Server], case: Case) -> Contestant:
        return GroupContestant(server(), __name__, case)

    for case in filter(wanted, cases(setting)):
        makers = {
            name: partial(group, server, case) for name, server in contestants.items()
        }
        if case.floor is NCCL:
            makers[FLOOR] = makers.pop(TORCH)
        elif case.floor is not None:
            makers[FLOOR] = partial(session.floor, __name__, case)
        session.contest(__name__, case, makers)
    case = first(setting)
    if wanted(case):
        makers = {
            name: lambda server=contestants[name]: First(server(), case)
            for name in (*LIBRARIES, TORCH)
        }
        session.contest(__name__, case, makers, single=True)
    # The next setting's ranks see other GPUs.
    for name in contestants:
        session.drop_server(name)


def facts() -> dict[str, object]:
    """The GPUs and NVIDIA's software, as torch has them."""
    import torch

    from pyaccel import _C, _gpu_libraries

    _gpu_libraries.prepare()
    try:
        driver = _C.gpu_driver()
    except OSError as error:
        driver = str(error)
    nccl = torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else ()
    return {
        "gpus": [
            torch.cuda.get_device_name(index)
            for index in range(torch.cuda.device_count())
        ],
        "driver": driver,
        "cuda": torch.version.cuda,
        "nccl": ".".join(map(str, nccl)) or "not in this torch",
    }


def run(session: Session) -> None:
    import torch

    if not torch.cuda.is_available():
        print(
            "gpu: skipped: needs a CUDA GPU, and torch.cuda.is_available() is false",
            file=sys.stderr,
        )
        return
    session.facts |= facts()
    for setting in settings(torch.cuda.device_count()):
        measure(session, setting, setting.variables())
