"""Tensors of GPUs through the Python package, on fake ones: where results are, what
differs from rank to rank, and what fails."""

import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils import broadcast, gather, gpu_ways, pad_across_processes, reduce
from pyaccel.utils.operations import DistributedOperationException, DistributedPeerError
from tests.distributed.paths import every_path, use_path
from tests.fakes import environment
from tests.harness import here

WAYS = ["staged", "ipc", "nccl"]
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def gpus(fakes):
    """Runs functions in groups of their own; settings are those of the fakes."""

    def run(function, *args, size=2, way=None, check=True, **settings):
        settings = {"devices": 4, **settings}
        env = environment(**settings)
        if way is not None:
            env["PYACCEL_GPU_WAYS"] = way
        return fakes.run(
            function, *args, size=size, group_env=env, own_group=True, check=check
        )

    return run


def start(device=None):
    """The fake devices, with a stream of its own for the rank's, and the group."""
    from tests.fakes.devices import devices

    own = here.rank if device is None else device
    found = devices()
    found.use(own, found.new_stream(own))
    PartialState()
    _group.comm.set_device(own)
    return found


def settled(found, *trees):
    """Where the leaves are and what they hold once all work is done."""
    found.synchronize()
    return [
        {key: (found.device_of(leaf), leaf.tolist()) for key, leaf in tree.items()}
        for tree in trees
    ]


# ---- Where results are ----


def use_all_places(path):
    """A leaf of the own GPU, one of the next, one of the host, and an array."""
    found = start()
    use_path(path)
    beside = (here.rank + 1) % 4
    found.use(beside, found.new_stream(beside))

    def tree():
        row = torch.full((1, 2), float(here.rank))
        return {
            "own": found.tensor(row, here.rank),
            "beside": found.tensor(row + 10, beside),
            "host": row + 20,
        }

    told = tree()
    same = broadcast(told, 1)["beside"] is told["beside"]
    gathered = gather({**tree(), "array": np.array([here.rank])})
    array = gathered.pop("array").tolist()
    results = settled(found, gathered, told, reduce(tree(), "sum"))
    return *results, array, same


@every_way
@every_path
def test_each_result_is_where_the_own_leaf_is(gpus, way, path):
    if path != "exchange" and way != "staged":
        return  # how tensors are read does not depend on the way
    outcomes = gpus(use_all_places, path, way=way, size=3)
    for rank, (gathered, told, total, array, same) in enumerate(outcomes):
        places = {"own": rank, "beside": rank + 1, "host": -1}
        rows = {"own": 0.0, "beside": 10.0, "host": 20.0}
        for key, place in places.items():
            add = rows[key]
            assert gathered[key] == (place, [[r + add] * 2 for r in range(3)])
            assert told[key] == (place, [[1 + add] * 2])
            assert total[key] == (place, [[3 + 3 * add] * 2])
        assert array == [0, 1, 2]
        assert same


def use_device_on_some():
    """Rank 1 has on the host what the others have on their GPUs."""
    found = start()

    def leaf(values):
        return values if here.rank == 1 else found.tensor(values, here.rank)

    rows = torch.full((here.rank + 1, 2), float(here.rank))
    told = {"a": leaf(torch.full((2,), float(here.rank)))}
    broadcast(told, 2)
    trees = (
        gather({"a": leaf(rows)}),
        told,
        reduce({"a": leaf(torch.ones(3))}, "mean"),
    )
    return settled(found, *trees)


@every_way
def test_a_leaf_on_a_device_on_some_ranks_only(gpus, way):
    rows = [[float(r)] * 2 for r in range(3) for _ in range(r + 1)]
    for rank, results in enumerate(gpus(use_device_on_some, way=way, size=3)):
        place = -1 if rank == 1 else rank
        assert [tree["a"] for tree in results] == [
            (place, rows),
            (place, [2.0, 2.0]),
            (place, [1.0, 1.0, 1.0]),
        ]


def use_kinds_of_tensors():
    found = start()
    plain = found.tensor(torch.arange(4.0) + here.rank, here.rank)
    with torch.inference_mode():
        inference = gather(found.tensor(torch.ones(1) * here.rank, here.rank))
    kinds = {
        "leaf": plain.clone().requires_grad_(),
        "parameter": torch.nn.Parameter(plain),
        "plain": plain,
        "number": plain[0],
        "every second": plain[::2],
        "flags": found.tensor(torch.tensor([here.rank > 0]), here.rank),
        "eight bits": found.tensor(torch.ones(2).to(torch.float8_e4m3fn), here.rank),
    }
    got = gather(kinds)
    found.synchronize()
    padded = pad_across_processes(plain[: here.rank + 1], pad_index=-1)
    found.synchronize()
    grads = {key: leaf.requires_grad for key, leaf in got.items()}
    return (
        {key: leaf.float().tolist() for key, leaf in got.items()},
        any(grads.values()),
        inference.tolist(),
        (padded.tolist(), padded.requires_grad, found.device_of(padded)),
    )


@every_way
def test_kinds_of_tensors(gpus, way):
    both = [0.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0]
    expected = {
        "leaf": both,
        "parameter": both,
        "plain": both,
        "number": [0.0, 1.0],
        "every second": [0.0, 2.0, 1.0, 3.0],
        "flags": [0.0, 1.0],
        "eight bits": [1.0] * 4,
    }
    padded = [([0.0, -1.0], False, 0), ([1.0, 2.0], False, 1)]
    for rank, outcome in enumerate(gpus(use_kinds_of_tensors, way=way)):
        assert outcome == (expected, False, [0.0, 1.0], padded[rank])


def borrow(dst):
    """A large array and a tensor of a GPU, without copies where that is possible."""
    found = start()
    rows = torch.full((20_000,), float(here.rank))
    own = {"gpu": found.tensor(rows, here.rank), "array": rows.numpy()}
    got = gather(own, copy=False, dst=dst)
    if got is None:
        return None
    found.synchronize()
    gpu, array = got["gpu"], got["array"]
    gpu.add_(0)  # it is its owner's
    halves = [array[::20_000].tolist(), gpu[::20_000].tolist()]
    return halves, array.flags.writeable, found.device_of(gpu)


@every_way
@pytest.mark.parametrize("dst", [None, 1])
def test_without_copies(gpus, way, dst):
    outcomes = gpus(borrow, dst, way=way)
    expected = [([[0.0, 1.0]] * 2, False, rank) for rank in range(2)]
    assert outcomes == (expected if dst is None else [None, expected[1]])


def split():
    found = start()
    whole = found.tensor(torch.arange(10).reshape(5, 2), here.rank)
    with PartialState().split_between_processes(whole) as share:
        inside = (
            share.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        )
        return share.tolist(), inside, found.device_of(share)


def test_a_split_is_a_view(gpus):
    rows = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert gpus(split) == [(rows[:3], True, 0), (rows[3:], True, 1)]


def use_streams():
    """Work of one stream is late; what is on another does not wait for it."""
    found = start()
    late, own = found.current(here.rank), found.new_stream(here.rank)
    found.cuda.fake("hold", late)
    found.use(here.rank, own)
    got = gather(found.tensor(torch.tensor([here.rank]), here.rank))
    found.wait(here.rank)
    values = got.tolist()
    found.cuda.fake("release", late)
    return values


@pytest.mark.parametrize("way", ["ipc", "nccl"])
def test_work_is_on_the_current_stream(gpus, way):
    assert gpus(use_streams, way=way) == [[0, 1], [0, 1]]


def add_narrow_floats(dtype):
    found = start()
    parts = [torch.linspace(-8, 8, 64).add(r).to(dtype) for r in range(here.size)]
    got = reduce(found.tensor(parts[here.rank], here.rank), "sum")
    found.synchronize()
    whole = torch.stack([part.double() for part in parts]).sum(0)
    return (got.double() - whole).abs().max().item(), got.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nccl_adds_narrow_floats_alike_on_all_ranks(gpus, dtype):
    outcomes = gpus(add_narrow_floats, dtype, way="nccl", size=3)
    step = torch.finfo(dtype).eps * 32
    assert all(off <= step and got == outcomes[0][1] for off, got in outcomes)


def gather_in_a_thread():
    found = start()
    row = found.tensor(torch.tensor([here.rank]), here.rank)
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(gather, row).result()
    found.synchronize()
    used = [device for device in range(4) if found.cuda.fake("used", device)]
    return got.tolist(), used


@every_way
def test_a_thread_takes_no_memory_of_other_gpus(gpus, way):
    """Where its current GPU is number 0, which is another process'."""
    outcomes = gpus(gather_in_a_thread, way=way)
    assert outcomes == [([0, 1], [0]), ([0, 1], [1])]


def use_as_on_several_hosts():
    """Every operation of a group whose ranks share no memory."""
    found = start()
    rows = torch.full((here.rank + 1, 2), float(here.rank))
    told = {"a": found.tensor(torch.full((2,), float(here.rank)), here.rank)}
    broadcast(told, 1)
    trees = (
        gather({"a": found.tensor(rows, here.rank)}),
        told,
        reduce({"a": found.tensor(torch.ones(3), here.rank)}, "sum"),
    )
    return settled(found, *trees), gpu_ways(), _group.comm.backend


@pytest.mark.parametrize("way", [None, "staged"])
def test_ranks_that_share_no_memory(fakes, way):
    """As on several hosts: the ranks meet over torch.distributed."""
    env = {**environment(devices=4), "PYACCEL_COMM": "torch"}
    if way is not None:
        env["PYACCEL_GPU_WAYS"] = way
    outcomes = fakes.run(
        use_as_on_several_hosts,
        size=3,
        via="variables",
        group_env=env,
        own_group=True,
    )
    every_row = [[float(r)] * 2 for r in range(3) for _ in range(r + 1)]
    for rank, (results, text, backend) in enumerate(outcomes):
        wanted = [every_row, [1.0, 1.0], [3.0] * 3]
        assert [tree["a"] for tree in results] == [(rank, values) for values in wanted]
        assert text.splitlines()[0] == f"ways: {way or 'nccl'}"
        assert backend == "torch"


# ---- What the group can have ----


def choose(device=None, versions=None):
    """The ways of a group after its first gather, or why it has none."""
    if versions is not None:
        os.environ["FAKES_NCCL_VERSION"] = str(versions[here.rank])
    found = start(None if device is None else device[here.rank])
    own = here.rank if device is None else device[here.rank]
    try:
        got = gather(found.tensor(torch.tensor([here.rank]), own))
    except (ValueError, DistributedOperationException) as error:
        # The group is whole: all ranks have seen the same.
        assert gather(torch.tensor([here.rank])).tolist() == list(range(here.size))
        return str(error)
    found.synchronize()
    assert got.tolist() == list(range(here.size))
    return _group.comm.devices()


def choose_with(nccl):
    os.environ["PYACCEL_NCCL_SO"] = nccl
    return choose()


def test_a_reason_is_told_whole(gpus, tmp_path):
    """Paths are long, and what is to be done about it comes after them."""
    built = environment(without=("ncclCommAbort",))
    folder = tmp_path / ("a folder with a long name " * 4)
    folder.mkdir()
    named = folder / "libnccl-fake.so"
    for kind, path in (("NCCL", named), ("CUDART", folder / "libcudart-fake.so")):
        shutil.copy(built[f"PYACCEL_{kind}_SO"], path)
    for text in gpus(choose_with, str(named)):
        assert f"rank 0 has no NCCL: there is no ncclCommAbort in {named}\n" in text


@pytest.mark.parametrize(
    ("settings", "arguments", "first", "why"),
    [
        ({}, {}, "nccl", ""),
        ({"libraries": ["cudart", "cuda"]}, {}, "ipc", "nccl: rank 0 has no NCCL"),
        (
            {},
            {"device": [0, 0]},
            "ipc",
            "nccl: ranks 0 and 1 are on one GPU (their numbers: 0 and 0); start at "
            "most one process a GPU",
        ),
        (
            {},
            {"versions": [22809, 22703]},
            "ipc",
            "nccl: rank 0 has NCCL 2.28.9 and rank 1 has 2.27.3; install the same",
        ),
        (
            {"libraries": ["cudart", "cuda"], "ipc_error": 801},
            {},
            "staged",
            "ipc: rank 0: ",
        ),
        (
            {"libraries": ["cudart", "cuda"], "peers": "none"},
            {},
            "staged",
            "ipc: rank 0: ",
        ),
    ],
    ids=["all", "no NCCL", "one GPU", "versions", "no IPC", "no peers"],
)
def test_the_best_way_that_can_be_had(gpus, settings, arguments, first, why):
    options = (arguments.get("device"), arguments.get("versions"))
    for text in gpus(choose, *options, **settings):
        assert text.splitlines()[0] == f"ways: {first}"
        assert why in text


@pytest.mark.parametrize(
    ("way", "settings", "device", "why"),
    [
        ("nccl", {}, [0, 0], "ranks 0 and 1 are on one GPU"),
        ("nccl", {"libraries": ["cudart", "cuda"]}, None, "rank 0 has no NCCL"),
        ("ipc", {"ipc_error": 801}, None, "rank 0: "),
    ],
    ids=["one GPU", "no NCCL", "no IPC"],
)
def test_a_way_that_was_asked_for_and_cannot_be_had(gpus, way, settings, device, why):
    first, second = gpus(choose, device, way=way, **settings)
    assert first == second
    assert f"the way {way} between GPUs was asked for and cannot be had: {why}" in first


# ---- Failures ----


def run_out_of_memory():
    found = start()
    own = found.tensor(torch.ones(1 << 18), here.rank)
    with pytest.raises(
        (torch.OutOfMemoryError, DistributedOperationException)
    ) as caught:
        gather([own] * 40)
    found.synchronize()
    return type(caught.value).__name__, str(caught.value), _group.comm.broken


def test_out_of_device_memory_is_an_error_of_all(gpus):
    memory = {"memory": 64 << 20}
    for name, text, broken in gpus(run_out_of_memory, way="staged", **memory):
        assert name == "OutOfMemoryError" or "could not make its result" in text
        assert "could not make its result" in broken


def lose_a_device():
    found = start()
    own = found.tensor(torch.ones(4), here.rank)
    assert gather(own).shape == (8,)
    found.synchronize()
    here.meet("gathered")
    if here.rank == 1:
        found.cuda.fake("lose", 719)
    with pytest.raises((OSError, DistributedOperationException)) as caught:
        for _ in range(3):
            gather(own)
            found.cuda.code("StreamSynchronize", found.current(here.rank))
    return str(caught.value), _group.comm.broken


@pytest.mark.parametrize("way", ["staged", "ipc"])
def test_a_lost_device_is_named_on_all_ranks(gpus, way):
    for text, broken in gpus(lose_a_device, way=way):
        assert "rank 1 failed on GPU 1" in text
        assert "rank 1 failed on GPU 1" in broken


def wait_for_a_dead_peer():
    """Rank 0 has queued work that waits for rank 1, and goes on without looking."""
    found = start()
    own = found.tensor(torch.ones(4), here.rank)
    gather(own)
    found.synchronize()
    here.meet("gathered")
    if here.rank == 1:
        found.cuda.fake("hold", found.current(1))
        gather(own)
        here.post("queued")
        here.wait("never", timeout=60)
    gather(own)
    with pytest.raises(DistributedPeerError) as caught:
        here.wait("queued")
        os.kill(here.pids[1], signal.SIGKILL)
        found.synchronize()
        here.wait_ended(1)
        while True:  # it comes between two instructions, or the run ends too late
            os.sched_yield()
    with pytest.raises(DistributedOperationException) as again:
        gather(own)
    return str(caught.value), str(again.value)


def test_a_dead_peer_is_told_while_work_waits_for_it(gpus):
    first, second = gpus(wait_for_a_dead_peer, way="nccl", check=False)
    assert second.exit == -signal.SIGKILL
    told, again = first.value
    assert "rank 1" in told
    assert "rank 1" in again


def repeat():
    """Many calls; what they leave behind, and whether they still hold the tensor."""
    found = start()
    own = found.tensor(torch.arange(100), here.rank)
    strided = found.tensor(torch.arange(100), here.rank)[::2]

    def call():
        gather({"a": own, "b": [strided]})
        broadcast(strided, 1)
        reduce(own, "max")
        pad_across_processes(own[: here.rank + 1])
        with pytest.raises(ValueError):
            reduce(own, "mean")
        found.synchronize()

    def held():
        live = found.cuda.text("report_live")[1].splitlines()
        events = sum(line.startswith("event: ") for line in live)
        return len(live) - events, sys.getrefcount(own), events

    call()
    before = held()
    for _ in range(50):
        call()
    return before, held()


@every_way
@every_path
def test_calls_leave_nothing_behind(gpus, way, path):
    if path != "exchange" and way != "staged":
        return
    for before, after in gpus(by_path, path, repeat, way=way):
        assert before[:2] == after[:2]
        # Two for each piece of work that was under way at once, which are used again.
        assert after[2] <= before[2] + 10


def by_path(path, function):
    use_path(path)
    try:
        return function()
    finally:
        use_path("auto")


def leave():
    found = start()
    for _ in range(3):
        gather(found.tensor(torch.arange(1000), here.rank))
        reduce(found.tensor(torch.ones(100), here.rank), "max")
    found.synchronize()
    PartialState().destroy_process_group()
    return found.cuda.text("report_live")[1].splitlines()


@every_way
def test_nothing_of_a_group_that_was_left_is_alive(gpus, way):
    for live in gpus(leave, way=way, size=3):
        assert len(live) == 1, live
        assert live[0].startswith("stream: "), live
