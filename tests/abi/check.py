"""What works without torch, checked by plain asserts in any interpreter.

Run as a script by `python -m tests.abi` with the interpreter under test, in which only
pyaccel's wheel and NumPy are installed; so it uses no pytest and no torch.
"""

import os
import signal
import subprocess
import sys
import tempfile
import types
from collections import OrderedDict, UserDict, namedtuple

import numpy as np

import pyaccel
from pyaccel import _C

DEADLINE = 60  # seconds for everything here
Pair = namedtuple("Pair", "first second")


def check_import():
    command = "import sys, pyaccel; print({'torch', 'numpy'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", command], check=False, capture_output=True, text=True
    )
    assert result.stdout == "set()\n", result
    wanted = "full" if sys.version_info < (3, 11) else "abi3"
    assert _C.build_info()["abi"] == wanted
    assert _C.usable_cpus() > 0


def check_split():
    for size in range(1, 5):
        for count in range(9):
            items = list(range(count))
            shares = [_C.split(items, rank, size) for rank in range(size)]
            assert [item for share in shares for item in share] == items
            padded = [_C.split(items, rank, size, True) for rank in range(size)]
            if size > 1:
                assert [item for share in padded for item in share][:count] == items
                assert len({len(share) for share in padded}) == 1
    both = _C.split({"a": (1, 2, 3), "b": np.arange(3)}, 1, 2)
    assert both["a"] == (3,)
    assert both["b"].tolist() == [2]

    class State(_C.Splitter):
        num_processes = 2
        process_index = 1

    with State().split_between_processes(["a", "c"]) as share:
        assert share == ["c"]


def check_alone():
    comm = _C.comm_self()
    tree = Pair(
        {"x": np.arange(3)}, [np.ones((2, 2), ">f4"), OrderedDict(y=np.array("é"))]
    )
    result = comm.gather(tree)
    assert type(result) is Pair
    assert result.first["x"].tolist() == [0, 1, 2]
    assert result.second[0].dtype == np.dtype(">f4")
    assert type(result.second[1]) is OrderedDict
    assert result.second[1]["y"].tolist() == ["é"]
    assert comm.broadcast(tree).second[0] is tree.second[0]
    assert comm.reduce(np.arange(3.0), "sum", 2).tolist() == [0, 2, 4]
    assert comm.pad(np.arange(3)).tolist() == [0, 1, 2]
    assert comm.gather_object({"k": np.zeros(10**5)})[0]["k"].nbytes == 8 * 10**5
    for bad in ("text", np.array([object()]), types.SimpleNamespace()):
        try:
            comm.gather(bad)
        except TypeError:
            continue
        raise AssertionError(bad)
    comm.close()
    comm.close()
    try:
        comm.barrier()
    except _C.DistributedOperationException as error:
        assert "left the group" in str(error)


def check_store():
    server = _C.StoreServer(secret=b"open")
    server.start()
    owner = _C.StoreClient("127.0.0.1", server.port, DEADLINE, b"open")
    guest = _C.StoreClient("127.0.0.1", server.port, DEADLINE)
    owner.set("pyaccel/key", b"value")
    assert owner.get("pyaccel/key") == b"value"
    assert guest.add("count", 2) == 2
    assert owner.add("count", 3) == 5
    try:
        guest.get("pyaccel/key")
    except _C.DistributedPeerError as error:
        assert "refuses" in str(error)
    else:
        raise AssertionError("a client without the secret saw the key")
    for one in (guest, owner, server):
        one.close()


def be_rank(segment, rank, size):
    comm = _C.comm_attach(segment.fd, rank, size, DEADLINE)
    comm.barrier()
    for count in (0, 1, 30, 5000, 10**6):
        rows = np.arange(count + rank) + rank
        expected = np.concatenate([np.arange(count + r) + r for r in range(size)])
        assert (comm.gather(UserDict(rows=rows))["rows"] == expected).all()
        filled = np.full(count, rank)
        comm.broadcast([filled], size - 1)
        assert (filled == size - 1).all()
        objects = comm.gather_object((rank, np.full(count, rank), "é" * count))
        for r, (number, array, text) in enumerate(objects):
            assert (number, text) == (r, "é" * count)
            assert (array == r).all()
            array[...] = -1  # results are the caller's own
    assert comm.broadcast_object([rank], 1) == [1]
    total = sum(range(size))
    assert comm.reduce(np.full(1000, rank), "sum").tolist() == [total] * 1000
    assert comm.pad(np.ones(rank)).tolist() == [1] * rank + [0] * (size - 1 - rank)
    try:
        comm.gather(rows if rank else rows.astype("f4"))
    except _C.DistributedOperationException as error:
        assert "different dtypes" in str(error)
    else:
        raise AssertionError("different dtypes went through")
    comm.barrier()
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        comm.barrier()
    except _C.DistributedPeerError as error:
        assert "rank 1 was killed" in str(error)
        return
    raise AssertionError("a killed rank was not noticed")


def check_ranks(size=3):
    segment = _C.Segment(size)
    pids = {}
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                be_rank(segment, rank, size)
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        pids[pid] = rank
    ends = {}
    for _ in range(size):
        pid, status = os.wait()
        ends[pids[pid]] = os.waitstatus_to_exitcode(status)
        segment.mark_ended(pids[pid], f"rank {pids[pid]} was killed")
    assert ends == {rank: -signal.SIGKILL if rank == 1 else 0 for rank in range(size)}
    segment.close()


def check_launch():
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "script.py")
        with open(script, "w") as file:
            file.write("import os, sys; print(os.environ['RANK'], sys.argv[1:])")
        command = [sys.executable, "-m", "pyaccel", "launch", "--num_processes", "2"]
        result = subprocess.run(
            [*command, script, "--x"],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
        )
        assert result.returncode == 0, result.stderr
        assert sorted(result.stdout.splitlines()) == ["0 ['--x']", "1 ['--x']"]


if __name__ == "__main__":
    signal.alarm(DEADLINE)
    for check in (
        *(check_import, check_split, check_alone),
        *(check_store, check_ranks, check_launch),
    ):
        check()
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"pyaccel {pyaccel.__version__} on CPython {version}: ok")
