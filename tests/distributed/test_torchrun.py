"""Groups under torchrun: each way of its rendezvous, restarts, and what it starts."""

import pytest

from tests.harness.group import free_port

WORK = """
    import os
    import torch.distributed
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    state = PartialState(cpu=True)
    assert state.process_index == int(os.environ["RANK"])
    assert torch.distributed.get_rank() == state.process_index
    assert torch.distributed.get_world_size() == state.num_processes
    assert state.local_process_index == int(os.environ["LOCAL_RANK"])
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    gathered = gather_object([state.process_index])
    os.write(1, f"attempt {attempt}: {gathered}\\n".encode())
    state.wait_for_everyone()
"""
# In the first attempt the last rank fails when all have a group.
RESTARTED = (
    WORK
    + """
    if attempt == "0" and state.is_last_process:
        os._exit(3)
    state.wait_for_everyone()
"""
)

RENDEZVOUS = {
    "static": lambda: ["--master-addr=127.0.0.1", f"--master-port={free_port()}"],
    "c10d": lambda: ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"],
    "standalone": lambda: ["--standalone"],
}


@pytest.fixture(params=RENDEZVOUS.values(), ids=RENDEZVOUS.keys())
def options(request):
    """The options of each kind of rendezvous in turn."""
    return request.param()


@pytest.mark.parametrize("size", [1, 4])
def test_every_rank_has_its_place(fresh, size):
    lines = fresh.torchrun(WORK, size=size).check().stdout.splitlines()
    assert lines == [f"attempt 0: {list(range(size))}"] * size


def test_every_rendezvous(fresh, options):
    """The second attempt of a job takes nothing from the first, in the same store."""
    options = [*options, "--max-restarts=1"]
    finished = fresh.torchrun(RESTARTED, options=options).check()
    lines = sorted(finished.stdout.splitlines())
    assert lines == ["attempt 0: [0, 1]"] * 2 + ["attempt 1: [0, 1]"] * 2


EARLY_FAILURE = """
    import os
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "2":
        os._exit(3)
"""


def test_a_rank_that_fails_before_the_group(fresh):
    """What the ranks that waited left in the store is nothing to the next attempt."""
    options = [*RENDEZVOUS["standalone"](), "--max-restarts=1"]
    finished = fresh.torchrun(EARLY_FAILURE + WORK, size=3, options=options).check()
    assert finished.stdout.splitlines() == ["attempt 1: [0, 1, 2]"] * 3


def test_inside_pyaccel_launch(fresh):
    """torchrun in a worker numbers its own processes."""
    inner = fresh.script(WORK)
    outer = f"""
        import os, subprocess, sys
        if os.environ["RANK"] == "1":
            command = ["-m", "torch.distributed.run", "--nproc-per-node=2"]
            command += ["--standalone", {str(inner)!r}]
            sys.exit(subprocess.run([sys.executable, *command]).returncode)
    """
    finished = fresh.launch(outer, size=2, timeout=120.0).check()
    assert finished.stdout.splitlines() == ["attempt 0: [0, 1]"] * 2


def test_pyaccel_launch_inside(fresh):
    """pyaccel launch in a worker of torchrun takes no part in torchrun's group."""
    inner = fresh.script(WORK)
    outer = f"""
        import os, subprocess, sys
        if os.environ["RANK"] == "1":
            command = ["-m", "pyaccel.commands.launch", "--cpu", "--num_processes=2"]
            command += [{str(inner)!r}]
            sys.exit(subprocess.run([sys.executable, *command]).returncode)
    """
    finished = fresh.torchrun(outer).check()
    assert finished.stdout.splitlines() == ["attempt 0: [0, 1]"] * 2


OWN_PORT = """
    import os, sys
    import torch.multiprocessing as mp
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    def work(rank, port):
        os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
        os.environ.update(LOCAL_WORLD_SIZE="2", MASTER_PORT=port)
        state = PartialState(cpu=True)
        os.write(1, f"spawned {gather_object([state.process_index])}\\n".encode())
        state.wait_for_everyone()

    if __name__ == "__main__":
        joins = sys.argv[2] == "joins"
        if joins:
            PartialState(cpu=True).wait_for_everyone()
        if os.environ["RANK"] == "0":
            mp.spawn(work, args=(sys.argv[1],), nprocs=2)
        if joins:
            PartialState().wait_for_everyone()
"""


@pytest.mark.parametrize("joins", ["joins", "alone"])
@pytest.mark.parametrize("launcher", ["torchrun", "launch"])
def test_processes_with_a_port_of_their_own(fresh, launcher, joins):
    """They inherit that somebody serves a store, where nobody does."""
    started = getattr(fresh, launcher)(OWN_PORT, free_port(), joins, timeout=120.0)
    assert started.check().stdout.splitlines() == ["spawned [0, 1]"] * 2
