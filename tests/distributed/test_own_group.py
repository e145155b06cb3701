"""Scripts that make torch.distributed's group themselves, before us or after us."""

import pytest

from tests.harness.group import free_port

WORK = """
    import os, sys
    import torch.distributed as dist
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for name in {without}:
        os.environ.pop(name, None)
    {before}
    state = PartialState(cpu=True)
    {after}
    assert (state.process_index, state.num_processes) == (rank, size)
    assert (dist.get_rank(), dist.get_world_size()) == (rank, size)
    assert state.local_process_index == rank
    assert state.backend == "gloo"
    parts = [None] * size
    dist.all_gather_object(parts, rank)
    assert parts == gather_object([rank]) == list(range(size))
    os.write(1, b"done\\n")
    state.wait_for_everyone()
    dist.destroy_process_group()
"""
ALL = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"]
INIT = "dist.init_process_group({})"
BEFORE = {
    "env": (INIT.format("'gloo'"), []),
    "no backend": (INIT.format("init_method='env://'"), []),
    "env and numbers": (
        INIT.format("'gloo', rank=rank, world_size=size"),
        ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"],
    ),
    "tcp": (
        INIT.format("'gloo', f'tcp://127.0.0.1:{sys.argv[1]}', None, size, rank"),
        ALL,
    ),
    "file": (
        INIT.format("'gloo', f'file://{sys.argv[2]}', None, size, rank"),
        ALL,
    ),
    "store": (
        INIT.format("'gloo', store=dist.FileStore(sys.argv[2], size), "
        "rank=rank, world_size=size"),
        ALL,
    ),
}  # fmt: skip


def work(fresh, launcher, tmp_path, size=2, **parts):
    script = WORK.format(**{"before": "", "after": "", "without": [], **parts})
    arguments = free_port(), tmp_path / "store"
    if launcher == "variables":
        started = fresh.variables(script, *arguments, size=size)
        return "".join(finished.check().stdout for finished in started)
    return getattr(fresh, launcher)(script, *arguments, size=size).check().stdout


@pytest.mark.parametrize("way", BEFORE)
def test_before(fresh, way, tmp_path):
    before, without = BEFORE[way]
    output = work(fresh, "variables", tmp_path, before=before, without=without)
    assert output == "done\n" * 2


@pytest.mark.parametrize("launcher", ["torchrun", "launch"])
@pytest.mark.parametrize("way", ["env", "file"])
def test_before_under_a_launcher(fresh, launcher, way, tmp_path):
    """A script under a launcher that reads its place and then leaves the variables."""
    before, _ = BEFORE[way]
    output = work(fresh, launcher, tmp_path, size=3, before=before)
    assert output == "done\n" * 3


@pytest.mark.parametrize("launcher", ["torchrun", "launch"])
def test_a_port_of_its_own_under_a_launcher(fresh, launcher, tmp_path):
    """torch serves there once the variable that names the launcher's store is gone."""
    before, _ = BEFORE["tcp"]
    without = ["TORCHELASTIC_USE_AGENT_STORE"]
    output = work(fresh, launcher, tmp_path, before=before, without=without)
    assert output == "done\n" * 2


@pytest.mark.parametrize("launcher", ["torchrun", "launch", "variables"])
def test_after(fresh, launcher, tmp_path):
    """As with accelerate torch's group is there already, and torch says so."""
    after = (
        "try: dist.init_process_group('gloo')\n"
        "    except ValueError as error: assert 'twice' in str(error)\n"
        "    else: raise AssertionError"
    )
    assert work(fresh, launcher, tmp_path, after=after) == "done\n" * 2


def test_after_ours_was_left(fresh, tmp_path):
    """A group that the script makes in the place of ours is what counts then."""
    after = (
        "state.destroy_process_group()\n"
        "    PartialState._reset_state()\n"
        "    dist.init_process_group('gloo', f'file://{sys.argv[2]}',"
        " None, size, rank)\n"
        "    state = PartialState()"
    )
    assert work(fresh, "launch", tmp_path, after=after) == "done\n" * 2


@pytest.mark.parametrize("launcher", ["launch", "variables"])
def test_another_backend_than_the_groups(fresh, launcher):
    script = """
        import torch.distributed as dist
        from pyaccel import PartialState
        dist.init_process_group("gloo")
        try:
            PartialState(backend="mpi")
        except ValueError as error:
            assert "mpi" in str(error) and "please use gloo" in str(error), error
        state = PartialState(backend="gloo")
        state.wait_for_everyone()
        dist.destroy_process_group()
    """
    if launcher == "launch":
        fresh.launch(script).check()
    else:
        for finished in fresh.variables(script):
            finished.check()


def test_a_part_of_the_group_is_no_other_group(fresh):
    """Groups of some ranks, and torch's current one, change nothing for ours."""
    script = """
        import os
        import torch.distributed as dist
        from pyaccel import PartialState
        from pyaccel.utils import gather_object
        dist.init_process_group("gloo")
        part = dist.new_group([0, 2])
        state = PartialState(cpu=True)
        assert gather_object([state.process_index]) == [0, 1, 2]
        if state.process_index != 1:
            dist.barrier(part)
        state.destroy_process_group(part)
        assert gather_object([state.process_index]) == [0, 1, 2]
        os.write(1, b"done\\n")
        state.wait_for_everyone()
        dist.destroy_process_group()
    """
    assert fresh.launch(script, size=3).check().stdout == "done\n" * 3


SPAWNED = """
    import os, sys
    import torch.distributed as dist
    import torch.multiprocessing as mp
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    def work(rank, size, method):
        dist.init_process_group("gloo", method, None, size, rank)
        state = PartialState(cpu=True)
        assert state.local_process_index == rank
        os.write(1, f"{gather_object([state.process_index])}\\n".encode())
        state.wait_for_everyone()
        dist.destroy_process_group()

    if __name__ == "__main__":
        for size, port in ((2, sys.argv[1]), (4, sys.argv[2])):
            mp.spawn(work, args=(size, f"tcp://127.0.0.1:{port}"), nprocs=size)
"""
TWICE = ["[0, 1]"] * 2 + ["[0, 1, 2, 3]"] * 4


@pytest.mark.parametrize("inside", ["nothing", "launch"])
def test_spawned_groups_one_after_the_other(fresh, inside):
    arguments = str(free_port()), str(free_port())
    if inside == "nothing":
        output = fresh.python(SPAWNED, *arguments).check().stdout
    else:
        # Each worker inherits numbers to its processes that are not theirs.
        output = fresh.launch(SPAWNED, *arguments, size=1).check().stdout
    assert output.splitlines() == TWICE
