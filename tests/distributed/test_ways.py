"""What a group is told of its GPUs before one is used; no GPU is needed for that."""

from datetime import timedelta
from threading import Event

import pytest
import torch

from pyaccel import _C, PartialState, _group
from pyaccel.utils import gather, gpu_ways
from tests.c import runner
from tests.fakes import environment
from tests.harness import here


def name_and_ask():
    PartialState()
    comm = _group.comm
    comm.set_device(here.rank)
    comm.set_device(index=here.rank, shared_nccl=True)
    comm.ask_ways("staged<=4K,ipc")
    with pytest.raises(ValueError, match=r"'?-1'?: a device's is 0 or more"):
        comm.set_device(-1)
    with pytest.raises(TypeError, match="rows must be a str"):
        comm.ask_ways(4)
    return comm.devices()


def test_a_device_is_named_and_ways_are_asked_for(backend):
    for text in backend.run(name_and_ask, size=2, own_group=True):
        assert text.splitlines() == [
            "GPUs are set up at the first operation on one",
            "asked for: staged<=4096,ipc",
        ]


def hear_of_a_failure():
    """Rank 1 breaks the group; rank 0 makes no call that would find out."""
    PartialState()
    _group.comm.set_device(here.rank)
    assert _group.comm.broken is None
    gather(torch.tensor([here.rank]))
    if here.rank == 1:
        _group.comm.abort("rank 1 has had enough")
    pause = Event()
    while _group.comm.broken is None:
        pause.wait(0.01)
    return _group.comm.broken


def test_who_waits_for_a_gpu_hears_that_the_group_broke(backend):
    for text in backend.run(hear_of_a_failure, size=2, own_group=True):
        assert text == "rank 1 has had enough"


def ask_for_nonsense():
    with pytest.raises(ValueError) as caught:
        PartialState(timeout=timedelta(seconds=30))
    return str(caught.value)


def test_rows_that_cannot_be_read_are_an_error_of_the_set_up(backend):
    env = {"PYACCEL_GPU_WAYS": "fast"}
    for text in backend.run(ask_for_nonsense, size=2, env=env, own_group=True):
        assert text.startswith('the ways between GPUs are "fast": write rows such as')


def test_nccl_that_waits_in_its_calls_is_an_error_of_the_set_up(shm):
    """Nobody could end such a call; the other ways do without NCCL."""
    env = {"NCCL_COMM_BLOCKING": "1"}
    for text in shm.run(join_on_told, "cuda:0", size=2, env=env):
        assert text.startswith("NCCL_COMM_BLOCKING is 1, which keeps pyaccel from ")
        assert text.endswith("unset it, or set PYACCEL_GPU_WAYS to ipc or staged")
    for more in ({"NCCL_COMM_BLOCKING": "0"}, {"PYACCEL_GPU_WAYS": "ipc<=4K,staged"}):
        told = shm.run(join_on, "cuda:0", size=2, env={**env, **more})
        assert told == [[(0, False)]] * 2
    assert shm.run(join_on, "cpu", size=2, env=env) == [[], []]


def join_on_told(device):
    with pytest.raises(ValueError) as caught:
        join_on(device)
    return str(caught.value)


def find_libraries():
    """What is found once the state is set up, before anybody asked for it by hand."""
    PartialState()
    return _C.gpu_libraries()["nccl"]["path"]


def test_the_files_that_variables_name_are_told_before_the_first_use(shm):
    """Also where nothing asks for the GPUs, as accelerate's check of them would."""
    if runner.compiler() is None:
        pytest.skip("no C compiler to build the fake GPUs with: install gcc or clang")
    env = {**environment(), "NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
    found = shm.run(find_libraries, size=2, env=env, own_group=True)
    assert found == [env["PYACCEL_NCCL_SO"]] * 2


def tell_ways():
    before = gpu_ways()
    PartialState()
    return before, gpu_ways()


def test_ways_can_be_printed(backend):
    env = {"PYACCEL_GPU_WAYS": "staged<=4K,ipc"}
    text = "GPUs are set up at the first operation on one\nasked for: staged<=4096,ipc"
    told = backend.run(tell_ways, size=2, env=env, own_group=True)
    assert told == [(text, text)] * 2
    alone = "one process works alone: nothing goes between GPUs"
    assert backend.run(tell_ways, size=1, own_group=True) == [(alone, alone)]


def join_on(device):
    """Two set-ups in one process: the second finds the group there."""
    state = PartialState()
    told = []
    joined = _group.comm

    class Told:
        def __getattr__(self, name):
            return getattr(joined, name)

        def __setattr__(self, name, value):
            setattr(joined, name, value)

        def set_device(self, index, shared_nccl):
            told.append((index, shared_nccl))

    world = type("World", (), {"rank": here.rank, "size": here.size})
    _group.comm = Told()
    _group.join(world, state.backend, {}, torch.device(device))
    _group.comm = joined
    assert gather(torch.tensor([here.rank])).tolist() == list(range(here.size))
    return told


@pytest.mark.parametrize(
    ("device", "told"), [("cuda:1", [(1, False)]), ("cpu", []), ("meta", [])]
)
def test_the_device_of_a_state_is_the_groups(shm, device, told):
    assert shm.run(join_on, device, size=2) == [told, told]


def test_nccls_own_variable_is_handed_on(shm):
    env = {"NCCL_MULTI_RANK_GPU_ENABLE": "1"}
    assert shm.run(join_on, "cuda:0", size=2, env=env) == [[(0, True)]] * 2


def test_a_closed_group_has_no_devices():
    comm = _C.comm_self()
    comm.close()
    for ask in (comm.devices, lambda: comm.set_device(0), lambda: comm.ask_ways("ipc")):
        with pytest.raises(
            _C.DistributedOperationException, match="has left the group"
        ):
            ask()
