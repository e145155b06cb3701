"""Threads, forks, destroyed groups, and the interpreter's end with results alive."""

import os
import threading

import pytest
import torch

from pyaccel import PartialState, _group
from pyaccel.utils.operations import (
    DistributedOperationException,
    gather,
    gather_object,
)
from tests.harness import every_size, here


def barrier():
    PartialState().wait_for_everyone()


def use_from_threads():
    """Threads of a rank take turns; which one of a rank meets which is not fixed."""
    PartialState()
    failures = []

    def work():
        try:
            for _ in range(30):
                assert gather(torch.ones(1000)).sum().item() == 1000 * here.size
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures, failures
    barrier()


@pytest.mark.parametrize("size", [2, 3])
def test_threads_take_turns(backend, size):
    backend.run(use_from_threads, size=size)


def use_from_another_thread():
    PartialState()
    results = []
    thread = threading.Thread(target=lambda: results.append(gather(torch.ones(2))))
    thread.start()
    thread.join(60)
    assert results[0].shape == (2 * here.size,)


@every_size
def test_a_thread_other_than_the_main_one(backend, size):
    backend.run(use_from_another_thread, size=size)


def other_threads_run_meanwhile():
    barrier()
    if here.rank == 1:
        here.wait("counted while waiting")
        barrier()
        return
    stop = threading.Event()

    def count():
        # It needs the interpreter lock, which a waiting collective must not hold.
        here.post("counted while waiting")
        stop.set()

    thread = threading.Thread(target=count)
    barrier_thread = threading.Thread(target=barrier)
    barrier_thread.start()
    thread.start()
    thread.join(30)
    assert stop.is_set()
    barrier_thread.join(30)


def test_a_waiting_rank_lets_other_threads_run(backend):
    backend.run(other_threads_run_meanwhile, size=2)


def gather_one():
    return gather(torch.ones(1))


def in_forked_child(function):
    """Run `function` in a forked child; its text of an error, or an empty one."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            function()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return text


def use_after_fork():
    barrier()
    kept = gather(torch.full((2 << 20,), here.rank, dtype=torch.uint8))
    for call in (gather_one, lambda: gather_object([1]), barrier):
        text = in_forked_child(call)
        assert "fork" in text, text
    # The child's end, and what it drops, do not concern the rank.
    assert in_forked_child(_group.comm.close) == ""
    assert (kept[: 2 << 20] == 0).all()
    assert gather_object([here.rank]) == list(range(here.size))


@pytest.mark.parametrize("size", [2, 3])
def test_use_after_fork(backend, size):
    backend.run(use_after_fork, size=size)


def use_after_destroy():
    state = PartialState()
    barrier()
    kept = gather(torch.full((2 << 20,), here.rank, dtype=torch.uint8))
    comm = _group.comm
    barrier()
    state.destroy_process_group()
    state.destroy_process_group()
    comm.close()
    assert comm.closed
    for call in (comm.barrier, lambda: comm.gather(torch.ones(1))):
        with pytest.raises(DistributedOperationException, match=r"closed|left|destroy"):
            call()
    kept.add_(1)
    assert (kept[: 2 << 20] == 1).all()


@pytest.mark.parametrize("size", [2, 3])
def test_use_after_destroy(each_way, size):
    each_way.run(use_after_destroy, size=size)


END_ALIVE = """
    import threading
    import torch
    from pyaccel import PartialState
    from pyaccel.utils.operations import gather, gather_object

    state = PartialState()
    kept = [gather(torch.ones(count)) for count in (1, 1000, 1 << 20)]
    kept += gather_object([torch.ones(1 << 20)])
    class Holder:
        pass
    holder = Holder()
    holder.self, holder.kept = holder, kept
    torch.kept = kept
    state.wait_for_everyone()
    print("done", flush=True)
"""


def test_the_interpreter_ends_with_results_alive(fresh):
    for result in fresh.variables(END_ALIVE, size=2):
        assert result.check().stdout == "done\n"
        assert result.stderr == ""


END_IN_THREAD = """
    import os, threading
    from pyaccel import PartialState

    state = PartialState()
    state.wait_for_everyone()
    if state.process_index == 0:
        thread = threading.Thread(target=state.wait_for_everyone, daemon=True)
        thread.start()
    print("done", flush=True)
"""


def test_the_interpreter_ends_while_a_daemon_thread_waits(fresh):
    for result in fresh.variables(END_IN_THREAD, size=2):
        assert result.check().stdout == "done\n"


OUTLIVE = """
    import builtins, os, sys
    from pyaccel import _C

    class Transport:
        def close(self, ending, say=os.write):
            say(1, b"closed")

    comm = _C.comm_relay(Transport(), 0, 2, 1.0)
    if sys.argv[1] == "kept":
        builtins.comm = comm  # lives longer than this module
    elif sys.argv[1] == "closed":
        comm.close()
    del comm
"""


@pytest.mark.parametrize(
    ("end", "said"), [("kept", ""), ("closed", "closed"), ("dropped", "closed")]
)
def test_a_group_that_outlives_the_interpreter_is_left_alone(fresh, end, said):
    """To leave it in good order may take long, or take what is there no more."""
    result = fresh.python(OUTLIVE, end).check()
    assert (result.stdout, result.stderr) == (said, "")


def properties():
    barrier()
    comm = _group.comm
    return comm.rank, comm.size, comm.backend, comm.broken, comm.closed


@pytest.mark.parametrize("size", [2, 3])
def test_properties(each_way, size):
    for rank, got in enumerate(each_way.run(properties, size=size)):
        assert got == (rank, size, each_way.name, None, False)


def alone():
    from pyaccel import _C

    comm = _C.comm_self()
    comm.barrier()
    value = torch.ones(2)
    assert (comm.rank, comm.size, comm.backend) == (0, 1, "self")
    assert comm.broadcast(value) is value
    assert torch.equal(comm.gather([value])[0], value)
    assert comm.gather_object("x") == ["x"]
    assert comm.broadcast_object("x") == "x"
    comm.close()
    comm.close()
    with pytest.raises(DistributedOperationException):
        comm.barrier()


def test_the_world_of_one(ranks):
    ranks.run(alone, size=1)


def wait_in_a_thread(started):
    """A thread that is in a barrier to which rank 1 has not come; its errors."""
    errors = []

    def wait():
        started.set()
        try:
            _group.comm.barrier()
        except DistributedOperationException as error:
            errors.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait(30.0)
    return thread, errors


def close_under_a_thread():
    PartialState()
    if here.rank == 1:
        here.wait("closed")
        with pytest.raises(DistributedOperationException):
            _group.comm.barrier()
        return None
    thread, errors = wait_in_a_thread(threading.Event())
    here.wait_state(0, "RS")
    _group.comm.close()
    thread.join(30.0)
    assert not thread.is_alive()
    here.post("closed")
    return errors


def test_close_ends_what_waits(ranks):
    errors, _ = ranks.run(close_under_a_thread, size=2, own_group=True)
    assert len(errors) == 1
    assert "left the group" in errors[0]


def fork_under_a_thread():
    PartialState()
    if here.rank == 1:
        here.wait("forked")
        _group.comm.barrier()
        return None
    thread, errors = wait_in_a_thread(threading.Event())
    text = in_forked_child(_group.comm.barrier)
    assert in_forked_child(_group.comm.close) == ""
    here.post("forked")
    thread.join(30.0)
    assert not errors
    return text


def test_a_child_forked_in_an_operation_is_told(ranks):
    text, _ = ranks.run(fork_under_a_thread, size=2, own_group=True)
    assert "forked" in text
