"""The launcher serves the group's store: one port, there before anybody needs it."""

import os
import socket
import subprocess
import sys

import pytest

from pyaccel.commands._launch import port
from pyaccel.commands._launch.errors import LaunchError

MEET = """
    import os
    from pyaccel import _C
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    client = _C.StoreClient(host, port, 60)
    rank = os.environ["RANK"]
    client.set(f"rank {rank}", b"here")
    client.wait(["rank 0", "rank 1"])
    # Rank 0 may leave first: the store does not go with it.
    if rank == "1":
        client.wait(["rank 0 is done"])
        print(client.get("rank 0").decode())
    else:
        client.set("rank 0 is done", b"")
    client.close()
"""

TORCH = """
    from datetime import timedelta
    from torch import distributed
    import torch
    distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    total = torch.tensor([distributed.get_rank() + 1])
    distributed.all_reduce(total)
    print(total.item())
    distributed.destroy_process_group()
"""

STATE = """
    from pyaccel import PartialState
    from pyaccel.utils import gather_object
    state = PartialState(cpu=True)
    if state.is_main_process:
        print(gather_object([state.process_index]), state.backend)
    else:
        gather_object([state.process_index])
"""


def test_workers_meet_at_the_launchers_store(fresh):
    result = fresh.launch(MEET, size=2).check()
    assert result.stdout == "here\n"


def test_a_given_port_is_the_stores(fresh):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    script = f"    import os; assert os.environ['MASTER_PORT'] == '{number}'\n" + MEET
    option = f"--main_process_port={number}"
    assert fresh.launch(script, size=2, options=[option]).check().stdout == "here\n"


def test_torchs_own_set_up_is_a_client_of_it(fresh):
    assert fresh.launch(TORCH, size=2).check().stdout == "3\n3\n"


def test_so_is_the_state(fresh):
    assert fresh.launch(STATE, size=2).check().stdout == "[0, 1] gloo\n"


def test_alone_the_script_may_serve_there(fresh):
    result = fresh.launch(
        """
        import os
        from torch.distributed import TCPStore
        assert "TORCHELASTIC_USE_AGENT_STORE" not in os.environ
        store = TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), 1, True)
        print(store.add("n", 1))
        """,
        size=1,
    )
    assert result.check().stdout == "1\n"


@pytest.mark.parametrize("begin", [port.serve, port.choose])
def test_who_has_the_port_is_named(begin):
    program = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        number = int(holder.stdout.readline())
        expected = rf"port {number} .* is in use by \S+ \(pid {holder.pid}\); choose"
        with pytest.raises(LaunchError, match=expected):
            begin(number)
        holder.stdin.close()


def test_a_port_that_only_root_may_serve(monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "listening at 127.0.0.1 port 80: Permission denied")

    monkeypatch.setattr(port._C, "StoreServer", refuse)
    with pytest.raises(LaunchError, match=r"port 80 .* cannot be served \(Permission"):
        port.serve(80)
    with pytest.raises(LaunchError, match="no port of this machine"):
        port.serve(None)


@pytest.mark.parametrize("begin", [port.serve, port.choose])
def test_a_number_that_is_no_port(begin):
    for number in (-1, 65536):
        with pytest.raises(LaunchError, match=f"between 0 and 65535, not {number}"):
            begin(number)


def test_an_unknown_holder_is_no_error(monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda path: [])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(LaunchError, match="in use by another process"):
            port.serve(number)
