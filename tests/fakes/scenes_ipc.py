"""Scenes of memory and events that another process has opened."""

import ctypes

from tests.fakes.client import Handle, read, write


def _handle(cuda, kind, what):
    """The handle of memory or of an event, as text."""
    handle = Handle()
    cuda.call(f"IpcGet{kind}Handle", ctypes.byref(handle), what)
    return bytes(handle).hex()


def _open(cuda, kind, text, *flags):
    """The code of opening a handle, and what was opened."""
    handle = Handle.from_buffer_copy(bytes.fromhex(text))
    out = ctypes.c_void_p()
    function = getattr(cuda.library, f"cudaIpcOpen{kind}Handle")
    return function(ctypes.byref(out), handle, *flags), out.value


def shares(here, wait):
    """Rank 0 writes late; rank 1 reads it behind rank 0's event, or at once."""
    cuda = here.cuda
    stream, host = cuda.stream(), cuda.pinned(4096)
    if here.rank == 0:
        memory, event = cuda.malloc(4096), cuda.event(flags=6)
        write(host, bytes([7] * 4096))
        cuda.fake("hold", stream)
        cuda.copy(memory, host, 4096, stream)
        cuda.call("EventRecord", event, stream)
        handles = [_handle(cuda, "Mem", memory), _handle(cuda, "Event", event)]
        here.exchange(handles)
        here.exchange()  # the other has queued its work
        if wait:
            cuda.fake("release", stream)
        here.exchange()  # the other has read
        return cuda.text("violations")[0]
    handles = here.exchange()[0]
    code, memory = _open(cuda, "Mem", handles[0], 1)
    again = _open(cuda, "Mem", handles[0], 1)
    assert (code, again) == (0, (0, memory))
    code, event = _open(cuda, "Event", handles[1])
    assert code == 0
    if wait:
        cuda.call("StreamWaitEvent", stream, event, 0)
    cuda.copy(host, memory, 4096, stream)
    reached = cuda.code("EventQuery", event)
    here.exchange()
    cuda.wait(stream)
    found = sorted(set(read(host, 4096)))
    here.exchange()
    for _ in range(2):
        cuda.call("IpcCloseMemHandle", memory)
    cuda.call("EventDestroy", event)
    closed = cuda.code("IpcCloseMemHandle", memory)
    return reached, found, closed, cuda.text("violations")[0]


def opens_freed(here, kind):
    """The code of opening what its owner has freed, and the violation."""
    cuda = here.cuda
    if here.rank == 0:
        what = cuda.malloc(64) if kind == "Mem" else cuda.event(flags=6)
        text = _handle(cuda, kind, what)
        cuda.call("Free" if kind == "Mem" else "EventDestroy", what)
        if kind == "Mem":
            cuda.malloc(64)  # at the same address
        here.exchange(text)
        here.exchange()
        return None
    code, _ = _open(cuda, kind, here.exchange()[0], *([1] if kind == "Mem" else []))
    here.exchange()
    return code, *cuda.text("violations")


def opens_elsewhere(here):
    """The codes of opening memory and an event where that may be impossible."""
    cuda = here.cuda
    handles = [
        _handle(cuda, "Mem", cuda.malloc(64)),
        _handle(cuda, "Event", cuda.event(flags=6)),
    ]
    other = here.exchange(handles)[1 - here.rank]
    codes = [_open(cuda, "Mem", other[0], 1)[0], _open(cuda, "Event", other[1])[0]]
    here.exchange()
    return codes
