"""How a group comes about without our launcher, and what is said when it does not."""

import pytest

WORK = """
    import sys
    from datetime import timedelta
    import torch.distributed
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    state = PartialState(**eval(sys.argv[1]) if sys.argv[1:] else {})
    assert torch.distributed.get_rank() == state.process_index
    state.wait_for_everyone()
    print("local", state.local_process_index, gather_object([state.process_index]))
"""
SHORT = "{'timeout': timedelta(seconds=3)}"


def test_plain_variables(fresh):
    for rank, finished in enumerate(fresh.variables(WORK, size=4)):
        assert finished.check().stdout == f"local {rank} [0, 1, 2, 3]\n"


def test_without_a_local_rank(fresh):
    """The local rank follows from the rank."""
    env = {"LOCAL_RANK": None}
    for rank, finished in enumerate(fresh.variables(WORK, env=env)):
        assert finished.check().stdout == f"local {rank} [0, 1]\n"


INITIALISED = """
    import os
    import torch.distributed
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    rank = int(os.environ.pop("RANK"))
    size = int(os.environ.pop("WORLD_SIZE"))
    del os.environ["LOCAL_RANK"]
    # The other way round than the variables had it.
    torch.distributed.init_process_group(
        "gloo", rank=size - 1 - rank, world_size=size, init_method="env://"
    )
    state = PartialState()
    assert state.process_index == state.local_process_index == size - 1 - rank
    print(gather_object([rank]))
"""


@pytest.mark.parametrize("launcher", ["variables", "launch"])
def test_the_scripts_own_group_wins(fresh, launcher):
    if launcher == "variables":
        # Rank 0 of the script's group serves the store, so it is the last variable's.
        outputs = [f.check().stdout for f in fresh.variables(INITIALISED)]
    else:
        outputs = fresh.launch(INITIALISED).check().stdout.splitlines()
    assert len(outputs) == 2
    assert all(output.strip().endswith("[1, 0]") for output in outputs)


def test_own_init_method(fresh, tmp_path):
    options = str({"init_method": f"file://{tmp_path}/store"})
    for rank, finished in enumerate(fresh.variables(WORK, options)):
        assert finished.check().stdout == f"local {rank} [0, 1]\n"


def test_rank_and_size_from_the_caller(fresh):
    script = """
        import os
        from pyaccel import PartialState
        rank = int(os.environ.pop("RANK"))
        del os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"]
        state = PartialState(rank=rank, world_size=2)
        state.wait_for_everyone()
        print(state.process_index, state.num_processes)
    """
    for rank, finished in enumerate(fresh.variables(script)):
        assert finished.check().stdout == f"{rank} 2\n"


def test_a_rank_that_never_comes_is_named(fresh):
    for finished in fresh.variables(WORK, SHORT, size=3, ranks=[0, 2]):
        assert finished.returncode == 1
        # Whoever sees the deadline first ends; the other may see that end instead.
        assert (
            "rank 1 did not come within" in finished.stderr
            or "the process that serves the store" in finished.stderr
        )


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_worker_that_makes_no_state_is_named(fresh, size):
    """It is the set-up that waited, and not an operation that nobody called."""
    script = """
        import os
        from datetime import timedelta
        from pyaccel import PartialState
        if os.environ["RANK"] == "1":
            os._exit(0)
        try:
            PartialState(timeout=timedelta(seconds=20))
        except Exception as error:
            os.write(1, f"{type(error).__name__}: {error}\\n".encode())
    """
    lines = fresh.launch(script, size=size).stdout.splitlines()
    assert len(lines) == size - 1
    for line in lines:
        assert line.startswith(f"DistributedPeerError: set-up of {size} processes: ")
        assert "rank 1" in line
        assert line.endswith("check that every process makes its PartialState")
        assert "wait_for_everyone" not in line


def test_a_worker_that_comes_too_late_is_named(fresh):
    script = """
        import os, sys, threading
        from datetime import timedelta
        from pyaccel import PartialState
        if os.environ["RANK"] == "1":
            threading.Event().wait(60)
        try:
            PartialState(timeout=timedelta(seconds=1))
        except Exception as error:
            os.write(1, f"{type(error).__name__}: {error}\\n".encode())
            sys.exit(7)
    """
    finished = fresh.launch(script)
    assert finished.returncode == 7
    assert "DistributedTimeoutError: set-up of 2 processes: rank 1 " in finished.stdout
    assert "wait_for_everyone" not in finished.stdout


def test_rank_0_that_never_comes(fresh):
    (finished,) = fresh.variables(WORK, SHORT, ranks=[1])
    assert finished.returncode == 1
    assert "rank 1 found no rank 0 at 127.0.0.1 port" in finished.stderr


def test_wrong_variables(fresh):
    (finished,) = fresh.variables(WORK, ranks=[0], env={"MASTER_ADDR": None})
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(
        "ValueError: MASTER_ADDR is not set"
    )


def test_a_port_that_is_taken(fresh):
    script = """
        import os, socket
        from pyaccel import PartialState
        with socket.create_server(("127.0.0.1", 0)) as other:
            os.environ["MASTER_PORT"] = str(other.getsockname()[1])
            try:
                PartialState()
            except ConnectionError as error:
                print(error, "|", PartialState._shared_state)
    """
    (finished,) = fresh.variables(script, ranks=[0])
    assert "set MASTER_PORT to a port that is free | {}" in finished.check().stdout


@pytest.mark.parametrize("options", ["{'backend': 'nccl'}", "{'timeout': 3}"])
def test_wrong_options_leave_nothing(fresh, options):
    script = """
        import sys
        import torch.distributed
        from pyaccel import PartialState, _group
        try:
            PartialState(cpu=True, **eval(sys.argv[1]))
        except (ValueError, TypeError) as error:
            print(type(error).__name__)
        assert PartialState._shared_state == {}
        assert _group.comm is None
        assert not torch.distributed.is_initialized()
    """
    (finished,) = fresh.variables(script, options, ranks=[0])
    expected = "ValueError\n" if "backend" in options else "TypeError\n"
    assert finished.check().stdout == expected


def test_ranks_that_cannot_share_memory(fresh):
    """Ranks that are not on one host go over torch.distributed, which is said once."""
    script = """
        import os
        from pyaccel import PartialState, _group, _rendezvous
        from pyaccel.utils import gather_object
        here = f'["{os.environ["RANK"]}", "net", "host{os.environ["RANK"]}"]'
        _rendezvous._this_host = lambda: here
        state = PartialState()
        print(_group.comm.backend, gather_object([state.process_index]))
    """
    first, second = (finished.check() for finished in fresh.variables(script))
    assert first.stdout == second.stdout == "torch [0, 1]\n"
    assert "rank 0 runs on host host0 (boot 0" in first.stderr
    assert "go over torch.distributed" in first.stderr
    assert "torch.distributed" not in second.stderr
