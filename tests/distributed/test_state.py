"""PartialState among several processes: its numbers, its decorators, who goes first."""

import multiprocessing
from pathlib import Path

import pytest
import torch

from pyaccel import Accelerator, DistributedType, PartialState, _group
from pyaccel._devices import find_accelerator
from pyaccel.utils import gather_object
from pyaccel.utils.operations import DistributedOperationException
from tests.harness import every_size, here

several = pytest.mark.parametrize("size", [2, 3])


def numbers(cpu):
    state = PartialState(cpu=cpu)
    assert state.is_main_process == state.is_local_main_process == (here.rank == 0)
    assert state.is_last_process == (here.rank == here.size - 1)
    assert state.use_distributed == (here.size > 1)
    assert torch.distributed.is_initialized() == (here.size > 1)
    if here.size > 1:
        assert torch.distributed.get_rank() == here.rank
    return (
        state.num_processes,
        state.process_index,
        state.local_process_index,
        state.distributed_type,
        state.backend,
        str(state.device),
    )


@every_size
@pytest.mark.parametrize("cpu", [False, True])
@pytest.mark.parametrize("via", ["launcher", "variables"])
def test_numbers(ranks, size, cpu, via):
    """Several processes without an accelerator are a group, whatever `cpu` says."""
    kind, backend, device = DistributedType.MULTI_CPU, "gloo", "cpu:0"
    if size == 1:
        kind, backend, device = DistributedType.NO, None, "cpu"
    if not cpu and find_accelerator() is not None:
        pytest.skip("this machine has an accelerator")
    results = ranks.run(numbers, cpu, size=size, via=via)
    assert results == [
        (size, rank, rank, kind, backend, device) for rank in range(size)
    ]


def run_decorated():
    results = []
    for owner in (PartialState(), Accelerator()):
        ran = {
            name
            for name, function in {
                "main": owner.on_main_process(lambda: True),
                "local main": owner.on_local_main_process(lambda: True),
                "last": owner.on_last_process(lambda: True),
                "first": owner.on_process(lambda: True, process_index=1),
                "local first": owner.on_local_process(local_process_index=1)(
                    lambda: True
                ),
            }.items()
            if function()
        }
        results.append(sorted(ran))
    return results


def test_decorators(ranks):
    results = ranks.run(run_decorated, size=3)
    expected = [["local main", "main"], ["first", "local first"], ["last"]]
    assert results == [[names, names] for names in expected]


def printed():
    PartialState().print("once", flush=True)
    Accelerator().print("twice", flush=True)


@several
def test_print(ranks, size):
    outcomes = ranks.run(printed, size=size, check=False)
    assert [o.stdout for o in outcomes] == ["once\ntwice\n"] + [""] * (size - 1)


def write_first(name, path):
    with getattr(PartialState(), name)():
        if here.rank == 0:
            Path(path).write_text("written")
        return Path(path).read_text()


@several
@pytest.mark.parametrize("name", ["main_process_first", "local_main_process_first"])
def test_main_goes_first(ranks, size, name, tmp_path):
    results = ranks.run(write_first, name, str(tmp_path / "file"), size=size)
    assert results == ["written"] * size


def fail_first(name):
    entered = False
    try:
        with getattr(PartialState(), name)():
            entered = True
            if here.rank == 0:
                raise KeyError("no such model")
    except Exception as error:
        told = type(error).__name__, str(error)
    # The group is still in step and goes on.
    return entered, told, gather_object([here.rank])


@several
@pytest.mark.parametrize("name", ["main_process_first", "local_main_process_first"])
def test_an_error_of_the_first_reaches_all(ranks, size, name):
    first, *others = ranks.run(fail_first, name, size=size)
    everyone = list(range(size))
    assert first == (True, ("KeyError", "'no such model'"), everyone)
    text = f"{name}: the block of rank 0 failed with KeyError: 'no such model'"
    for other in others:
        assert other == (
            False,
            (DistributedOperationException.__name__, text),
            everyone,
        )


def test_an_error_of_one_host_reaches_the_others(ranks):
    """Every rank is the first of its own host here; the one that fails is rank 0."""
    env = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    name = "local_main_process_first"
    results = ranks.run(fail_first, name, size=2, env=env)
    assert results[0][:2] == (True, ("KeyError", "'no such model'"))
    assert results[1][0]
    assert "the block of rank 0 failed" in results[1][1][1]


def keep_after_reset():
    state = PartialState()
    comm = _group.comm
    PartialState._reset_state()
    again = PartialState()
    assert _group.comm is comm
    assert again.num_processes == here.size
    state.wait_for_everyone()


def test_reset_keeps_the_group(ranks):
    ranks.run(keep_after_reset, size=2)


def leave_and_return():
    state = PartialState()
    state.destroy_process_group()
    assert not torch.distributed.is_initialized()
    with pytest.raises(DistributedOperationException, match="left the group"):
        state.wait_for_everyone()
    PartialState._reset_state()
    PartialState().wait_for_everyone()
    return gather_object([here.rank])


@pytest.mark.parametrize("via", ["launcher", "variables"])
def test_a_group_can_be_left_and_made_again(ranks, via):
    results = ranks.run(leave_and_return, size=2, own_group=True, via=via)
    assert results == [[0, 1]] * 2


def destroy_a_part():
    state = PartialState()
    part = torch.distributed.new_group([0, 1])
    state.destroy_process_group(part)
    assert torch.distributed.is_initialized()
    state.wait_for_everyone()


def test_a_part_of_torchs_group_is_destroyed_alone(ranks):
    ranks.run(destroy_a_part, size=2, own_group=True)


def fork_and_ask(connection):
    answers = [PartialState().process_index]
    for ask in (PartialState().wait_for_everyone, lambda: gather_object([1])):
        try:
            ask()
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    PartialState._reset_state()
    try:
        PartialState()
    except RuntimeError as error:
        answers.append(str(error))
    connection.send(answers)


def fork_a_child():
    state = PartialState()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=fork_and_ask, args=(theirs,))
    child.start()
    answers = ours.recv() if ours.poll(30) else None
    child.join()
    ours.close()
    theirs.close()
    # The group of the rank is as it was.
    state.wait_for_everyone()
    return answers, gather_object([here.rank])


def test_a_forked_child_is_not_a_rank(ranks):
    for rank, (answers, gathered) in enumerate(ranks.run(fork_a_child, size=2)):
        index, *errors = answers
        assert index == rank
        assert len(errors) == 3
        assert all("fork" in error for error in errors)
        assert f"forked from rank {rank}" in errors[-1]
        assert gathered == [0, 1]
