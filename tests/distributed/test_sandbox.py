"""Where the system refuses what shared memory needs, and where ranks are apart."""

import sys

import pytest

from tests.harness import hosts as network
from tests.harness.group import free_port

SCRIPT = """
    import os
    import numpy as np, torch
    from pyaccel import PartialState, _group
    from pyaccel.utils import broadcast, gather, gather_object
    state = PartialState()
    rank = state.process_index
    rows = gather({"x": torch.full((rank + 1, 2), float(rank)), "y": [np.arange(3)]})
    items = gather_object([("rank", rank, np.full(3000, rank))])
    told = broadcast(torch.full((1000,), rank), 1)
    state.wait_for_everyone()
    said = [
        _group.comm.backend,
        rows["x"].shape[0],
        rows["y"][0].tolist()[-1],
        [item[2].sum().item() for item in items],
        told.sum().item(),
        state.local_process_index,
    ]
    # In one piece: ranks that share a pipe would mix the pieces of a print.
    os.write(1, (" ".join(map(str, said)) + "\\n").encode())
"""
RESULT = "3 2 [0, 3000] 1000"


def sandboxed(calls, command):
    return [sys.executable, "-m", "tests.harness.seccomp", calls, *command]


def launched(fresh, *options):
    command = [sys.executable, "-m", "pyaccel.commands.launch", "--num_processes=2"]
    return [*command, "--cpu", *options, str(fresh.script(SCRIPT))]


def test_without_memory_files_ranks_use_torch(fresh):
    command = sandboxed("memfd_create", launched(fresh))
    finished = fresh.start(command).finish(120.0).check()
    lines = sorted(finished.stdout.splitlines())
    assert lines == [f"torch {RESULT} {rank}" for rank in range(2)]
    assert finished.stderr.count("go over torch.distributed") == 1
    assert "memfd_create" in finished.stderr


def test_without_process_descriptors_ranks_share_memory(fresh):
    command = sandboxed("pidfd_open", launched(fresh))
    finished = fresh.start(command).finish(120.0).check()
    lines = sorted(finished.stdout.splitlines())
    assert lines == [f"shm {RESULT} {rank}" for rank in range(2)]
    assert "torch.distributed" not in finished.stderr


def test_everything_refused_without_a_launcher(fresh):
    """The ranks find each other by the store alone."""
    script = str(fresh.script(SCRIPT))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    calls = "memfd_create,pidfd_open,process_vm_readv"
    command = sandboxed(calls, [*command, "--standalone", script])
    finished = fresh.start(command).finish(120.0).check()
    lines = sorted(finished.stdout.splitlines())
    assert lines == [f"torch {RESULT} {rank}" for rank in range(2)]


@pytest.fixture
def hosts():
    """Two hosts made of network namespaces."""
    if reason := network.unavailable():
        pytest.skip(reason)
    made = network.Hosts(2)
    yield made
    made.close()


def test_two_hosts(fresh, hosts):
    """One rank a host: the same results, over the network."""
    script = str(fresh.script(SCRIPT))
    running = []
    for rank in range(2):
        variables = {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "MASTER_ADDR": hosts.addresses[0],
            "MASTER_PORT": "29500",
            "GLOO_SOCKET_IFNAME": "eth0",
        }
        command = hosts.command(rank, [sys.executable, script])
        running.append(fresh.start(command, variables))
    for process in running:
        finished = process.finish(120.0).check()
        assert finished.stdout == f"torch {RESULT} 0\n"


CONTAINED = (
    SCRIPT
    + """
    from pyaccel.utils.operations import DistributedPeerError
    if rank == 1:
        os._exit(3)
    try:
        state.wait_for_everyone()
    except DistributedPeerError as error:
        os.write(1, f"{os.uname().nodename}: {error}\\n".encode())
"""
)


def test_containers_on_one_network(fresh):
    """One host, whatever it is called, and whatever numbers its processes have."""
    if reason := network.no_containers():
        pytest.skip(reason)
    port = str(free_port())
    running = []
    for rank in range(2):
        variables = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        variables["GLOO_SOCKET_IFNAME"] = "lo"  # the names have no address
        command = [sys.executable, str(fresh.script(CONTAINED))]
        started = network.container(f"container{rank}", command)
        running.append(fresh.start(started, variables))
    first, second = (process.finish(120.0) for process in running)
    assert second.returncode == 3
    assert second.stdout == f"shm {RESULT} 1\n"
    result, told = first.check().stdout.splitlines()
    assert result == f"shm {RESULT} 0"
    assert told.startswith("container0: wait_for_everyone on shm: rank 1 (pid ")
    assert first.stderr == ""
