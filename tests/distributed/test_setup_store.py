"""The store by which processes set up: secrets, strangers, ends, garbage."""

import signal
import socket
import threading

import pytest

from pyaccel import _C
from tests.harness.group import free_port

# Ranks that share nothing but a store, whatever the launcher could hand down.
OVER_TORCH = {"PYACCEL_COMM": "torch"}

MEET = """
    from pyaccel import PartialState
    from pyaccel.utils import gather_object
    state = PartialState(cpu=True)
    everybody = gather_object([state.process_index])
    if state.is_main_process:
        print(everybody)
"""

# Rank 0 alone, so that it waits for the others.
WAIT = """
    from pyaccel import PartialState, _store
    def said(store, world, name, value, deadline, exchange=_store.exchange):
        print("waiting", flush=True)
        return exchange(store, world, name, value, deadline)
    from pyaccel import _rendezvous
    _rendezvous.exchange = said
    PartialState(cpu=True)
"""


def test_a_stranger_sees_nothing_of_ours(fresh):
    """Our keys are in the launcher's store, and only for who shows its secret."""
    script = f"""{MEET}
    import os
    from torch.distributed import TCPStore
    from pyaccel import _C
    port = int(os.environ["MASTER_PORT"])
    own_port, secret = os.environ["PYACCEL_SECRET"].split(":")
    assert int(own_port) == port
    assert len(bytes.fromhex(secret)) == 32
    state.wait_for_everyone()
    if state.is_main_process:
        torchs = TCPStore("127.0.0.1", port, is_master=False)
        own = [key for key in torchs.list_keys() if "pyaccel" in key]
        print([key for key in own if "default_pg" not in key])  # those are torch's
        for name in ("host/0", "relay/broken"):
            stranger = _C.StoreClient("127.0.0.1", port, 60)
            try:
                stranger.check([f"pyaccel//0/1/{{name}}"])
            except _C.DistributedPeerError as error:
                print(error)
        ours = _C.StoreClient("127.0.0.1", port, 60, bytes.fromhex(secret))
        print(ours.check(["pyaccel//0/1/socket"]))
    state.wait_for_everyone()
    """
    # Without memory of the launcher's, but with memory that rank 0 hands round.
    head = """
    import os
    os.environ["PYACCEL_CONTROL"] = f"{os.getpid()}:-1"
    """
    lines = fresh.launch(head + script).check().stdout.splitlines()
    assert lines[0] == "[0, 1]"
    assert lines[1] == "[]"
    assert all("it refuses the request" in line for line in lines[2:4])
    assert lines[4:] == ["True"]


def test_every_launch_has_a_secret_of_its_own(fresh):
    script = "import os; print(os.environ['PYACCEL_SECRET'].split(':')[1])"
    said = [fresh.launch(script).check().stdout.split() for _ in range(2)]
    assert [len(set(secrets)) for secrets in said] == [1, 1]
    assert said[0] != said[1]


def test_over_torch_under_the_launcher(fresh):
    assert fresh.launch(MEET, env=OVER_TORCH).check().stdout == "[0, 1]\n"


@pytest.fixture
def served():
    """A launcher's store with a secret."""
    server = _C.StoreServer(secret=b"right")
    server.start()
    yield server
    server.close()


def test_a_wrong_secret(fresh, served):
    head = f"""
    import os
    os.environ["PYACCEL_SECRET"] = "{served.port}:{b"wrong".hex()}"
    os.environ["MASTER_PORT"] = "{served.port}"
    """
    for rank, finished in enumerate(fresh.variables(head + MEET)):
        who = f"set-up of 2 processes: rank {rank}"
        assert finished.returncode == 1
        assert finished.stderr.splitlines()[-1] == (
            f"ConnectionError: {who} cannot use the store: "
            f"the store at 127.0.0.1 port {served.port} has another secret: it belongs "
            "to another launch; start it with the launcher that serves there, or unset "
            "PYACCEL_SECRET"
        )


def test_who_listens_is_no_store(fresh):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet():
            while True:
                try:
                    peer, _ = other.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"220 mail.example ESMTP")
                    peer.recv(1)

        greeting = threading.Thread(target=greet)
        greeting.start()
        port = str(other.getsockname()[1])
        (finished,) = fresh.variables(MEET, ranks=[1], env={"MASTER_PORT": port})
        other.shutdown(socket.SHUT_RDWR)
        greeting.join()
    assert finished.returncode == 1
    assert f"who listens at 127.0.0.1 port {port} is no store" in finished.stderr
    assert "set MASTER_ADDR and MASTER_PORT to where rank 0" in finished.stderr


def test_the_store_ends_while_ranks_wait_for_others(fresh, served):
    """All who wait hear of it at once, and say whose end it was."""
    names = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(served.port),
        "PYACCEL_SECRET": f"{served.port}:{b'right'.hex()}",
        "WORLD_SIZE": "3",
    }
    running = [
        fresh.start_python(WAIT, env=names | {"RANK": str(rank)}) for rank in (0, 1)
    ]
    for one in running:
        one.wait_for("waiting")
    served.close()
    for one in running:
        finished = one.finish()
        assert finished.returncode == 1
        assert "the process that serves the store, rank 0 or the launcher, ended" in (
            finished.stderr
        )


def test_rank_0_is_killed_while_others_wait(fresh):
    """By plain variables rank 0 serves the store, with torch's server."""
    names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    running = [
        fresh.start_python(WAIT, env=names | {"RANK": str(rank), "WORLD_SIZE": "3"})
        for rank in (0, 1)
    ]
    for one in running:
        one.wait_for("waiting")
    running[0].signal(signal.SIGKILL)
    assert running[0].finish().returncode == -signal.SIGKILL
    finished = running[1].finish()
    assert finished.returncode == 1
    assert "the process that serves the store, rank 0 or the launcher, ended" in (
        finished.stderr
    )


def test_garbage_at_the_launchers_port_harms_nobody(fresh):
    head = """
    import os, random, socket
    address = ("127.0.0.1", int(os.environ["MASTER_PORT"]))
    dice = random.Random(int(os.environ["RANK"]))
    for _ in range(20):
        with socket.create_connection(address) as stranger:
            stranger.sendall(dice.randbytes(dice.randint(1, 2000)))
    """
    assert fresh.launch(head + MEET, env=OVER_TORCH).check().stdout == "[0, 1]\n"
