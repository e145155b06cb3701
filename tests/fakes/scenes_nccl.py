"""Scenes of the fake NCCL."""

import ctypes
import os
import signal
import struct

from tests.fakes.client import CodeError, Config, Identity, Nccl, read, write

IN_PROGRESS = 7
UINT8 = 1
# Type -> (code of NCCL's, format of struct).
TYPES = {
    "int8": (0, "b"),
    "uint8": (1, "B"),
    "int32": (2, "i"),
    "uint32": (3, "I"),
    "int64": (4, "q"),
    "uint64": (5, "Q"),
    "float16": (6, "e"),
    "float32": (7, "f"),
    "float64": (8, "d"),
}
OPERATIONS = {"sum": 0, "product": 1, "max": 2, "min": 3, "average": 4}


class Work:
    """A communicator with a stream, and memory that bytes are put into and got from."""

    def __init__(self, here, **options):
        self.cuda, self.nccl = here.cuda, here.nccl
        self.comm = here.comm(**options)
        self.stream = self.cuda.stream()
        self.host = self.cuda.pinned(1 << 16)

    def put(self, data):
        """New memory of the device that holds the bytes once the stream is there."""
        address = self.cuda.malloc(max(len(data), 1))
        if data:
            host = self.cuda.pinned(len(data))
            write(host, data)
            self.cuda.copy(address, host, len(data), self.stream)
        return address

    def get(self, address, nbytes):
        """Bytes of the device's memory, in order on the stream."""
        self.cuda.copy(self.host, address, nbytes, self.stream)
        self.cuda.wait(self.stream)
        return read(self.host, nbytes)

    def do(self, name, *arguments):
        """A collective, polled until it is queued."""
        self.nccl.ready(name, *arguments, self.comm, self.stream, comm=self.comm)

    def end(self):
        """Finalizes and destroys the communicator."""
        self.nccl.ready("CommFinalize", self.comm, comm=self.comm)
        self.nccl.call("CommDestroy", self.comm)


def gathers(here):
    """An all-gather, also in place, and broadcasts from every root."""
    work = Work(here)
    own = bytes([here.rank + 1] * 5)
    send, recv = work.put(own), work.put(bytes(5 * here.size))
    work.do("AllGather", send, recv, 5, UINT8)
    found = [work.get(recv, 5 * here.size).hex()]
    place = work.put(bytes(5 * here.rank) + own + bytes(5 * (here.size - here.rank)))
    work.do("AllGather", place + 5 * here.rank, place, 5, UINT8)
    found.append(work.get(place, 5 * here.size).hex())
    for root in range(here.size):
        work.do("Broadcast", send, recv, 5, UINT8, root)
        found.append(work.get(recv, 5).hex())
    work.do("AllGather", None, None, 0, UINT8)
    work.end()
    return found


def reduces(here):
    """All-reduces in place of 1, -2 (or 2) and 3 times the rank plus 1, of every type
    by every operation; "type operation" -> values."""
    work = Work(here)
    found = {}
    for dtype, (code, letter) in TYPES.items():
        second = 2 if letter in "BIQ" else -2
        data = struct.pack(f"3{letter}", *(n * (here.rank + 1) for n in (1, second, 3)))
        for operation, number in OPERATIONS.items():
            place = work.put(data)
            work.do("AllReduce", place, place, 3, code, number)
            values = struct.unpack(f"3{letter}", work.get(place, len(data)))
            found[f"{dtype} {operation}"] = values
    work.end()
    return found


def exchanges(here):
    """A group in which every rank sends to and receives from every rank, itself too."""
    work = Work(here)
    nccl = work.nccl
    outgoing = [work.put(bytes([16 * here.rank + peer])) for peer in range(here.size)]
    incoming = [work.put(b"\xff") for _ in range(here.size)]
    nccl.call("GroupStart")
    codes = set()
    for peer in range(here.size):
        tail = (1, UINT8, peer, work.comm, work.stream)
        codes.add(nccl.code("Send", outgoing[peer], *tail))
        codes.add(nccl.code("Recv", incoming[peer], *tail))
    nccl.ready("GroupEnd", comm=work.comm)
    found = [work.get(address, 1).hex() for address in incoming]
    work.end()
    return found, sorted(codes)


def is_in_progress(here, polls):
    """How often each operation is in progress, and that its work is not yet queued."""
    nccl, cuda = here.nccl, here.cuda
    identity = bytes.fromhex(
        here.exchange(nccl.identity().hex() if here.rank == 0 else None)[0]
    )
    comm, stream = nccl.comm(here.size, identity, here.rank), cuda.stream()
    first = 0
    while nccl.state(comm) == IN_PROGRESS:
        first += 1
    send, recv = cuda.malloc(8), cuda.malloc(8 * here.size)
    cuda.fake("hold", stream)
    code = nccl.code("AllGather", send, recv, 8, UINT8, comm, stream)
    queued, asked = [cuda.fake("queued", stream)], 0
    while nccl.state(comm) == IN_PROGRESS:
        asked += 1
    queued.append(cuda.fake("queued", stream))
    cuda.fake("release", stream)
    cuda.wait(stream)
    nccl.code("CommFinalize", comm)
    last = 0
    while nccl.state(comm) == IN_PROGRESS:
        last += 1
    nccl.call("CommDestroy", comm)
    return first >= polls, code, asked, queued, last >= polls


def uses_several_streams(here):
    """A group on two streams: both are behind it, and it is behind both."""
    work = Work(here)
    nccl, cuda = work.nccl, work.cuda
    other = cuda.stream()
    recv = [cuda.malloc(here.size) for _ in range(2)]
    send = [cuda.malloc(1) for _ in range(2)]
    hosts = [cuda.pinned(here.size) for _ in range(2)]
    nccl.call("GroupStart")
    for i, stream in enumerate((work.stream, other)):
        host = cuda.pinned(1)
        write(host, bytes([here.rank + 1]))
        cuda.copy(send[i], host, 1, stream)
        nccl.code("AllGather", send[i], recv[i], 1, UINT8, work.comm, stream)
    nccl.ready("GroupEnd", comm=work.comm)
    for i, stream in enumerate((work.stream, other)):
        cuda.copy(hosts[i], recv[i], here.size, stream)
    cuda.wait(other)
    cuda.wait(work.stream)
    found = [read(host, here.size).hex() for host in hosts]
    work.end()
    return found


def captured(here):
    """An all-gather in a graph that is launched twice."""
    work = Work(here)
    cuda = work.cuda
    send, recv = work.put(bytes([here.rank + 1])), work.put(bytes(here.size))
    cuda.wait(work.stream)
    cuda.fake("capture_begin", work.stream, 0)
    work.do("AllGather", send, recv, 1, UINT8)
    graph = ctypes.c_void_p()
    assert cuda.fake("capture_end", work.stream, ctypes.byref(graph)) == 0
    found = [work.get(recv, here.size).hex()]
    for _ in range(2):
        assert cuda.fake("graph_launch", graph, work.stream) == 0
        found.append(work.get(recv, here.size).hex())
        write(work.host, bytes([here.rank + 5]))
        cuda.copy(send, work.host, 1, work.stream)
        cuda.wait(work.stream)
    cuda.fake("graph_destroy", graph)
    work.end()
    return found


def loses_a_rank(here):
    """The last rank dies before a collective: that spins until the others abort."""
    work = Work(here)
    cuda, nccl = work.cuda, work.nccl
    send, recv = work.put(b"a"), work.put(bytes(here.size))
    cuda.wait(work.stream)
    here.exchange()
    if here.rank == here.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    work.do("AllGather", send, recv, 1, UINT8)
    here.exchange()
    event = cuda.event()
    cuda.call("EventRecord", event, work.stream)
    found = [cuda.code("EventQuery", event), nccl.state(work.comm)]
    nccl.call("CommAbort", work.comm)
    cuda.wait(work.stream)
    found += [cuda.code("EventQuery", event), work.get(recv, 1).hex()]
    return found


def ends_with_spinning_work(here):
    """Ends while a collective spins, after the stream was destroyed."""
    work = Work(here)
    here.exchange()
    if here.rank == 0:
        work.do("AllGather", work.put(b"a"), work.put(bytes(here.size)), 1, UINT8)
        work.cuda.call("StreamDestroy", work.stream)


def joins(here):
    """The state of a communicator that may not come to be, and NCCL's last words."""
    cuda, nccl = here.cuda, here.nccl
    nccl.library.ncclGetLastError.restype = ctypes.c_char_p
    identity = bytes.fromhex(
        here.exchange(nccl.identity().hex() if here.rank == 0 else None)[0]
    )
    comm = nccl.comm(here.size, identity, here.rank)
    state = nccl.poll(comm)
    text = nccl.library.ncclGetLastError(None).decode()
    here.exchange()
    nccl.call("CommAbort", comm)
    return state, text, cuda.text("report_live")


def has_no_root(here):
    """The state of a communicator whose unique id is of a process that has ended."""
    cuda, nccl = here.cuda, here.nccl
    identity = nccl.identity() if here.rank == 0 else b""
    identity = bytes.fromhex(here.exchange(identity.hex())[0])
    if here.rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    here.exchange()
    here.exchange()
    comm = nccl.comm(here.size, identity, here.rank)
    state = nccl.poll(comm)
    nccl.call("CommAbort", comm)
    return state, cuda.text("violations")[0]


def waits_for_nobody(here):
    """A communicator that one rank never joins, aborted."""
    nccl = here.nccl
    identity = bytes.fromhex(
        here.exchange(nccl.identity().hex() if here.rank == 0 else None)[0]
    )
    found = None
    if here.rank == 0:
        assert here.cuda
        comm = nccl.comm(here.size, identity, 0)
        found = [nccl.state(comm) for _ in range(10)]
        nccl.call("CommAbort", comm)
        found.append(here.cuda.text("report_live")[0])
    here.exchange()
    return found


def has_a_fault(here, rules=""):
    """How three gathers end, with faults of FAKES_FAIL, or of fake_fail from now on."""
    work = Work(here)
    if rules:
        assert work.cuda.fake("fail", rules.encode())
    send, recv = work.put(b"a"), work.put(bytes(here.size))
    states = []
    for _ in range(3):
        try:
            work.do("AllGather", send, recv, 1, UINT8)
            states.append(0)
        except CodeError as error:
            states.append(error.code)
    here.exchange()
    work.nccl.call("CommAbort", work.comm)
    return states


# --- ranks that do not do the same ----------------------------------------------------


def _gather(work, count=4, dtype=UINT8):
    work.do("AllGather", work.put(bytes(64)), work.put(bytes(512)), count, dtype)


def _broadcast(work, root=0):
    work.do("Broadcast", work.put(bytes(64)), work.put(bytes(64)), 4, UINT8, root)


def _reduce(work, operation=0):
    work.do("AllReduce", work.put(bytes(64)), work.put(bytes(64)), 4, UINT8, operation)


def _send(work, peer, count=4):
    address = work.put(bytes(64))
    tail = (count, UINT8, peer, work.comm, work.stream)
    work.nccl.ready("Send", address, *tail, comm=work.comm)


def _receive(work, peer, count=4):
    address = work.put(bytes(64))
    tail = (count, UINT8, peer, work.comm, work.stream)
    work.nccl.ready("Recv", address, *tail, comm=work.comm)


# What rank 0 and what the others do.
DIFFERENT = {
    "counts": (lambda w: _gather(w, 4), lambda w: _gather(w, 5)),
    "types": (lambda w: _gather(w, 4, 0), lambda w: _gather(w, 4, 7)),
    "kinds": (_gather, _reduce),
    "roots": (lambda w: _broadcast(w, 0), lambda w: _broadcast(w, 1)),
    "operations": (lambda w: _reduce(w, 0), lambda w: _reduce(w, 2)),
    "sizes of a message": (lambda w: _send(w, 1, 4), lambda w: _receive(w, 0, 5)),
    "a message and a collective": (lambda w: _receive(w, 1), _gather),
    "a collective and the end": (_gather, lambda w: w.end()),
    "a message and the end": (lambda w: _receive(w, 1), lambda w: w.end()),
}


def differs(here, name):
    """Two ranks that call different things: how many violations, and the state."""
    work = Work(here)
    DIFFERENT[name][here.rank != 0](work)
    work.cuda.wait(work.stream)
    here.exchange()
    violations = work.cuda.text("violations")
    ended = name.endswith("end") and here.rank != 0
    state = 6 if ended else work.nccl.state(work.comm)
    here.exchange()
    if not ended:
        work.nccl.call("CommAbort", work.comm)
    return violations, state


# --- rules that are broken: each makes one violation ---------------------------------


def _twice(work):
    recv = work.put(bytes(64))
    tail = (work.put(bytes(8)), recv, 8, UINT8, work.comm, work.stream)
    assert work.nccl.code("AllGather", *tail) == IN_PROGRESS
    return work.nccl.code("AllGather", *tail)


def _enqueue(work, name, *arguments, stream=None):
    return work.nccl.code(name, *arguments, work.comm, stream or work.stream)


def _other_device(work, what):
    work.cuda.call("SetDevice", 1)
    return getattr(work.cuda, what)(*([64] if what == "malloc" else []))


def _initialize(work, rank=0, **wrong):
    usual = {"nbytes": 24, "magic": 0xCAFEBEEF, "version": 21400, "blocking": 0}
    config = Config(**{**usual, **wrong})
    return work.nccl.library.ncclCommInitRankConfig(
        ctypes.byref(ctypes.c_void_p()),
        1,
        Identity.from_buffer_copy(bytes(128)),
        rank,
        ctypes.byref(config),
    )


def _overlapping(work):
    place = work.put(bytes(64))
    return _enqueue(work, "AllReduce", place, place + 4, 8, UINT8, 0)


def _aborted(work):
    work.nccl.call("CommAbort", work.comm)
    return work.nccl.code("CommAbort", work.comm)


def _finalized(work):
    work.nccl.ready("CommFinalize", work.comm, comm=work.comm)
    return _enqueue(work, "AllGather", work.put(b"a"), work.put(b"a"), 1, UINT8)


def _finalizing(work):
    work.nccl.code("CommFinalize", work.comm)
    return work.nccl.code("CommDestroy", work.comm)


RULES = {
    "before the call before was polled": _twice,
    "beyond the end": lambda w: _enqueue(
        w, "AllGather", w.put(bytes(8)), w.put(bytes(7)), 8, UINT8
    ),
    "memory of the host": lambda w: _enqueue(
        w, "AllGather", w.host, w.put(bytes(64)), 8, UINT8
    ),
    "memory of another device": lambda w: _enqueue(
        w, "AllGather", _other_device(w, "malloc"), w.put(bytes(64)), 8, UINT8
    ),
    "stream of another device": lambda w: _enqueue(
        w,
        "AllGather",
        w.put(b"a"),
        w.put(b"a"),
        1,
        UINT8,
        stream=_other_device(w, "stream"),
    ),
    "buffers that overlap": _overlapping,
    "root out of range": lambda w: _enqueue(
        w, "Broadcast", w.put(b"a"), w.put(b"a"), 1, UINT8, 1
    ),
    "peer out of range": lambda w: w.nccl.code(
        "Send", w.put(b"a"), 1, UINT8, -1 & 0xFFFFFFFF, w.comm, w.stream
    ),
    "unknown type": lambda w: _enqueue(w, "AllGather", w.put(b"a"), w.put(b"a"), 1, 12),
    "unknown operation": lambda w: _enqueue(
        w, "AllReduce", w.put(b"a"), w.put(b"a"), 1, UINT8, 5
    ),
    "unknown stream": lambda w: _enqueue(
        w, "AllGather", w.put(b"a"), w.put(b"a"), 1, UINT8, stream=0x123450
    ),
    "unknown communicator": lambda w: w.nccl.code("CommAbort", 0x1234),
    "aborted twice": _aborted,
    "used when finalized": _finalized,
    "destroyed without being finalized": lambda w: w.nccl.code("CommDestroy", w.comm),
    "destroyed while being finalized": _finalizing,
    "group ended and not started": lambda w: w.nccl.code("GroupEnd"),
    "magic of the configuration": lambda w: _initialize(w, magic=1),
    "size of the configuration": lambda w: _initialize(w, nbytes=8),
    "version of the configuration": lambda w: _initialize(w, version=21300),
    "blocking of the configuration": lambda w: _initialize(w, blocking=2),
    "rank out of range": lambda w: _initialize(w, rank=1),
}


def breaks_rule(here, name):
    """Breaks one rule: the code, how many violations there are, and the last one."""
    work = Work(here)
    code = RULES[name](work)
    return code, *work.cuda.text("violations")


def old_version(here):
    """The version that the library says it has."""
    assert here.nccl
    return Nccl().made("GetVersion", kind=ctypes.c_int)
