"""Scenes of the fake CUDA: what a process sees of it, and every rule that it breaks."""

import ctypes
import os

from tests.fakes.client import Handle, read, write

NEW = 0xA5  # what memory holds that nobody has written
NOT_READY = 600


def _filled(cuda, nbytes, value):
    """Pinned memory that holds one byte again and again."""
    address = cuda.pinned(nbytes)
    write(address, bytes([value]) * nbytes)
    return address


def copies(here, wait):
    """A copy on a stream that is held, and one behind it on another, with or without
    the event between them; what the second has read."""
    cuda = here.cuda
    source, target, device = _filled(cuda, 64, 7), _filled(cuda, 64, 1), cuda.malloc(64)
    first, second, event = cuda.stream(), cuda.stream(), cuda.event()
    cuda.fake("hold", first)
    cuda.copy(device, source, 64, first)
    cuda.call("EventRecord", event, first)
    if wait:
        cuda.call("StreamWaitEvent", second, event, 0)
    cuda.copy(target, device, 64, second)
    asked = cuda.code("EventQuery", event)
    if wait:
        cuda.fake("release", first)
    cuda.wait(second)
    return asked, sorted(set(read(target, 64)))


def runs_late(here):
    """What a copy has done when the call returns, and when the stream is waited for.
    The pause is longer than the scene may take, unless somebody waits."""
    cuda = here.cuda
    source, device = _filled(cuda, 8, 7), cuda.malloc(8)
    cuda.copy(device, source, 8)
    before = read(device, 8)[0]
    queued = cuda.fake("queued", 0)
    cuda.wait()
    return before, queued, read(device, 8)[0]


def races(here):
    """How often a copy that waits for nothing comes first, of 20 pairs of streams."""
    cuda = here.cuda
    early = 0
    source, target, device = _filled(cuda, 8, 7), cuda.pinned(8), cuda.malloc(8)
    first, second = cuda.stream(), cuda.stream()
    for _ in range(20):
        write(source, bytes([1] * 8))
        cuda.copy(device, source, 8, first)
        cuda.wait(first)
        write(source, bytes([7] * 8))
        cuda.copy(device, source, 8, first)
        cuda.copy(target, device, 8, second)
        cuda.fake("synchronize_all")
        early += read(target, 8)[0] == 1
    return early


def waits_for_the_latest_record(here):
    """A wait is for the record that was latest when it was called."""
    cuda = here.cuda
    first, second, event = cuda.stream(), cuda.stream(), cuda.event()
    unrecorded = cuda.code("EventQuery", event)
    cuda.call("EventRecord", event, first)
    cuda.wait(first)
    cuda.call("StreamWaitEvent", second, event, 0)
    cuda.fake("hold", first)
    cuda.call("EventRecord", event, first)
    cuda.wait(second)  # not for the record that is held
    again = cuda.code("EventQuery", event)
    cuda.fake("release", first)
    cuda.wait(first)
    return unrecorded, again, cuda.code("EventQuery", event)


def orders(here):
    """How many violations there are after work on shared memory that events order, by
    way of a third stream too, or that only reads."""
    cuda = here.cuda
    first, second, third = (cuda.stream() for _ in range(3))
    event, other = cuda.event(), cuda.event()
    source, device = _filled(cuda, 64, 7), cuda.malloc(64)
    targets = [cuda.pinned(64) for _ in range(2)]
    cuda.fake("hold", first)
    cuda.copy(device, source, 64, first)
    cuda.call("EventRecord", event, first)
    cuda.call("StreamWaitEvent", second, event, 0)
    cuda.call("EventRecord", other, second)
    cuda.call("StreamWaitEvent", third, other, 0)
    cuda.copy(targets[0], device, 64, third)
    cuda.copy(targets[1], device, 64, second)
    ordered = cuda.text("violations")[0]
    cuda.copy(device, source, 64, first)  # which second and third still read
    cuda.fake("release", first)
    cuda.fake("synchronize_all")
    cuda.copy(device, source, 64, third)  # all is done: nothing to be ordered behind
    return ordered, cuda.text("violations")[0]


def default_stream_is_in_step(here):
    """Blocking streams and the default one wait for each other; others do not."""
    cuda = here.cuda
    source, target, device = _filled(cuda, 8, 7), cuda.pinned(8), cuda.malloc(8)
    blocking = cuda.made("StreamCreateWithFlags", 0)
    for _ in range(5):
        cuda.copy(device, source, 8, blocking)
        cuda.copy(target, device, 8, 0)
    cuda.wait(0)
    return read(target, 8)[0]


def fails(here, rules):
    """The codes of three allocations under faults, and what the thread remembers."""
    cuda = here.cuda
    out = ctypes.c_void_p()
    codes = [cuda.code("Malloc", ctypes.byref(out), 64) for _ in range(3)]
    if rules:
        assert cuda.fake("fail", rules.encode())
        codes += [cuda.code("Malloc", ctypes.byref(out), 64) for _ in range(3)]
    return codes, cuda.code("GetLastError"), cuda.code("GetLastError")


def is_full(here):
    """How many allocations of 1 MiB a device of 4 MiB has room for, twice."""
    cuda = here.cuda
    counts = []
    for _ in range(2):
        blocks = []
        out = ctypes.c_void_p()
        while cuda.code("Malloc", ctypes.byref(out), 1 << 20) == 0:
            blocks.append(out.value)
        counts.append(len(blocks))
        for block in blocks:
            cuda.call("Free", block)
    return counts


def is_lost(here):
    """What calls return and what queued work does once the devices are gone."""
    cuda = here.cuda
    source, device = _filled(cuda, 8, 7), cuda.malloc(8)
    stream, event = cuda.stream(), cuda.event()
    cuda.fake("hold", stream)
    cuda.copy(device, source, 8, stream)
    cuda.fake("lose", 719)
    cuda.fake("synchronize_all")
    codes = [
        cuda.code("StreamSynchronize", stream),
        cuda.code("EventQuery", event),
        cuda.code("Free", device),
        cuda.code("GetLastError"),
        cuda.code("GetLastError"),
    ]
    return codes, read(device, 8)[0]


def fails_late(here):
    """The codes of a copy that fails on its stream, and of what follows."""
    cuda = here.cuda
    source, device, stream = _filled(cuda, 8, 7), cuda.malloc(8), cuda.stream()
    codes = [cuda.code("MemcpyAsync", device, source, 8, 4, stream)]
    codes += [cuda.code("StreamSynchronize", stream), cuda.code("SetDevice", 0)]
    return codes, read(device, 8)[0]


def captures(here):
    """A graph of two streams; how large it is, and what launching it does."""
    cuda = here.cuda
    source, target, device = _filled(cuda, 8, 7), _filled(cuda, 8, 0), cuda.malloc(8)
    first, second = cuda.stream(), cuda.stream()
    fork, join = cuda.event(), cuda.event()
    status = ctypes.c_int()

    def state(stream):
        cuda.call("StreamIsCapturing", stream, ctypes.byref(status))
        return status.value

    states = [state(first)]
    assert cuda.fake("capture_begin", first, 0) == 0
    cuda.copy(device, source, 8, first)
    cuda.call("EventRecord", fork, first)
    cuda.call("StreamWaitEvent", second, fork, 0)
    states += [state(first), state(second)]
    cuda.copy(target, device, 8, second)
    cuda.call("EventRecord", join, second)
    cuda.call("StreamWaitEvent", first, join, 0)
    graph = ctypes.c_void_p()
    assert cuda.fake("capture_end", first, ctypes.byref(graph)) == 0
    states += [state(first), state(second)]
    cuda.wait(first)
    found = [read(target, 8)[0]]
    for value in (8, 9):
        write(source, bytes([value] * 8))
        assert cuda.fake("graph_launch", graph, first) == 0
        cuda.wait(first)
        found.append(read(target, 8)[0])
    pieces = cuda.fake("graph_size", graph)
    cuda.fake("graph_destroy", graph)
    return states, pieces, found


def leaves_work_unjoined(here):
    """The code of a capture whose second stream does not come back."""
    cuda = here.cuda
    first, second, fork = cuda.stream(), cuda.stream(), cuda.event()
    source, device = _filled(cuda, 8, 7), cuda.malloc(8)
    cuda.fake("capture_begin", first, 0)
    cuda.call("EventRecord", fork, first)
    cuda.call("StreamWaitEvent", second, fork, 0)
    cuda.copy(device, source, 8, second)
    graph = ctypes.c_void_p()
    return cuda.fake("capture_end", first, ctypes.byref(graph)), graph.value


def devices(here):
    """What the process sees: devices, buses, identities."""
    cuda = here.cuda
    count = ctypes.c_int()
    code = cuda.code("GetDeviceCount", ctypes.byref(count))
    driver = ctypes.CDLL(os.environ["PYACCEL_CUDA_SO"])
    seen = []
    for device in range(count.value):
        text = ctypes.create_string_buffer(16)
        cuda.call("DeviceGetPCIBusId", text, 16, device)
        handle, uuid = ctypes.c_int(), ctypes.create_string_buffer(16)
        assert driver.cuDeviceGet(ctypes.byref(handle), device) == 0
        assert driver.cuDeviceGetUuid_v2(uuid, handle) == 0
        seen.append((text.value.decode(), uuid.raw.hex()))
    return code, seen


def gpus(here):
    """What NVML says of the machine."""
    nvml = ctypes.CDLL(os.environ["PYACCEL_NVML_SO"])
    assert nvml.nvmlInit_v2() == 0
    count, found = ctypes.c_uint(), []
    assert nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    for index in range(count.value):
        device, name, uuid = (
            ctypes.c_void_p(),
            *map(ctypes.create_string_buffer, (96, 96)),
        )
        memory = (ctypes.c_ulonglong * 3)()
        now, later = ctypes.c_uint(), ctypes.c_uint()
        assert nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0
        assert nvml.nvmlDeviceGetName(device, name, 96) == 0
        assert nvml.nvmlDeviceGetUUID(device, uuid, 96) == 0
        assert nvml.nvmlDeviceGetMemoryInfo(device, memory) == 0
        modes = ctypes.byref(now), ctypes.byref(later)
        assert nvml.nvmlDeviceGetMigMode(device, *modes) == 0
        found.append((name.value.decode(), uuid.value.decode(), memory[0], now.value))
    version = ctypes.create_string_buffer(80)
    assert nvml.nvmlSystemGetDriverVersion(version, 80) == 0
    assert nvml.nvmlShutdown() == 0
    return found, version.value.decode()


def tensors(here):
    """Memory as torch gives it out: whose it is, and when it is given to others."""
    cuda = here.cuda
    stream = cuda.stream()
    source = _filled(cuda, 8, 7)
    tensor = cuda.fake("alloc", 0, 8, stream)
    found = [cuda.fake("device_of", tensor), cuda.fake("device_of", source)]
    cuda.fake("hold", stream)
    cuda.copy(tensor, source, 8, stream)
    cuda.fake("free", tensor)  # dies while its own stream has work on it: fine
    found.append(cuda.fake("device_of", tensor))
    second = cuda.fake("alloc", 0, 8, stream)
    found.append(second != tensor)
    cuda.fake("release", stream)
    cuda.wait(stream)
    found.append(cuda.fake("alloc", 0, 8, stream) == tensor)
    return found, cuda.text("violations")[0]


def records_streams(here):
    """A tensor that another stream uses by its owner's word: it may die meanwhile, and
    is given to others once that stream is done."""
    cuda = here.cuda
    own, other = cuda.stream(), cuda.stream()
    source, tensor = _filled(cuda, 8, 7), cuda.fake("alloc", 0, 8, own)
    cuda.fake("hold", other)
    cuda.copy(tensor, source, 8, other)
    cuda.fake("record_stream", tensor, other)
    cuda.fake("free", tensor)
    kept = cuda.fake("alloc", 0, 8, own) != tensor
    cuda.fake("release", other)
    cuda.wait(other)
    given = cuda.fake("alloc", 0, 8, own) == tensor
    return kept, given, cuda.text("violations")[0]


def leaves_things(here):
    """One of each that a process can leave behind."""
    cuda = here.cuda
    cuda.malloc(100)
    cuda.pinned(200)
    cuda.stream()
    cuda.event()
    cuda.fake("alloc", 0, 8, 0)  # torch's own
    here.nccl.identity()
    here.nccl.call("GroupStart")
    return cuda.text("report_live")


# --- rules that are broken: each makes one violation ---------------------------------


def _capturing(cuda):
    stream = cuda.stream()
    assert cuda.fake("capture_begin", stream, 0) == 0
    return stream


def _destroyed(cuda, kind):
    handle = getattr(cuda, kind)()
    cuda.call(f"{kind.capitalize()}Destroy", handle)
    return handle


def _freed(cuda):
    address = cuda.malloc(64)
    cuda.call("Free", address)
    return address


def _busy(cuda, address):
    """Work on the memory that is not done."""
    stream = cuda.stream()
    cuda.fake("hold", stream)
    cuda.copy(address, _filled(cuda, 8, 1), 8, stream)
    return address


def _tensor_dies(cuda):
    """A tensor dies while a stream that is not its own has work on it."""
    tensor = cuda.fake("alloc", 0, 8, cuda.stream())
    _busy(cuda, tensor)
    cuda.fake("free", tensor)
    return 1


def _on(cuda, device, kind):
    cuda.call("SetDevice", device)
    return getattr(cuda, kind)()


def _captured_event(cuda):
    event = cuda.event()
    cuda.call("EventRecord", event, _capturing(cuda))
    return event


def _uncaptured_event(cuda):
    event = cuda.event()
    cuda.call("EventRecord", event, cuda.stream())
    return event


def _own_handle(cuda):
    handle = Handle()
    cuda.call("IpcGetMemHandle", ctypes.byref(handle), cuda.malloc(64))
    return handle


def _unordered(cuda):
    address = _busy(cuda, cuda.malloc(8))
    return cuda.code("MemcpyAsync", cuda.pinned(8), address, 8, 4, cuda.stream())


def _tensor_dies_on_the_way(cuda):
    """As _tensor_dies, but an event orders the work before what the tensor's stream
    gets next: nothing is wrong. Then the same without."""
    own, other, event = cuda.stream(), cuda.stream(), cuda.event()
    for ordered in (True, False):
        tensor = cuda.fake("alloc", 0, 8, own)
        cuda.fake("hold", other)
        cuda.copy(tensor, _filled(cuda, 8, 1), 8, other)
        if ordered:
            cuda.call("EventRecord", event, other)
            cuda.call("StreamWaitEvent", own, event, 0)
        cuda.fake("free", tensor)
        assert cuda.text("violations")[0] == (not ordered)
        cuda.fake("release", other)
        cuda.fake("synchronize_all")
    return 1


RULES = {
    "freed memory": lambda c: c.code("MemcpyAsync", _freed(c), c.pinned(8), 8, 4, 0),
    "beyond the end": lambda c: c.code(
        "MemcpyAsync", c.malloc(64), c.pinned(99), 65, 4, 0
    ),
    "beyond the end of pinned memory": lambda c: c.code(
        "MemcpyAsync", c.malloc(99), c.pinned(64), 65, 4, 0
    ),
    "pageable memory": lambda c: c.code(
        "MemcpyAsync", c.malloc(8), b"pageable", 8, 4, 0
    ),
    "direction": lambda c: c.code("MemcpyAsync", c.malloc(8), c.pinned(8), 8, 2, 0),
    "freed twice": lambda c: c.code("Free", _freed(c)),
    "freed inside": lambda c: c.code("Free", c.malloc(64) + 8),
    "freed by another function": lambda c: c.code("FreeHost", c.malloc(64)),
    "freed in use": lambda c: c.code("Free", _busy(c, c.malloc(64))),
    "unknown stream": lambda c: c.code("StreamSynchronize", 0x1234),
    "destroyed stream": lambda c: c.code("StreamSynchronize", _destroyed(c, "stream")),
    "unknown event": lambda c: c.code("EventQuery", 0x1234),
    "destroyed event": lambda c: c.code("EventQuery", _destroyed(c, "event")),
    "event of another device": lambda c: c.code(
        "EventRecord", _on(c, 1, "event"), _on(c, 0, "stream")
    ),
    "shared event with timing": lambda c: c.code(
        "EventCreateWithFlags", ctypes.byref(ctypes.c_void_p()), 4
    ),
    "synchronizing a capture": lambda c: c.code("StreamSynchronize", _capturing(c)),
    "synchronizing beside a capture": lambda c: (
        _capturing(c),
        c.code("StreamSynchronize", c.stream()),
    )[1],
    "asking in a capture": lambda c: c.code("EventQuery", _captured_event(c)),
    "allocating in a capture": lambda c: (
        _capturing(c),
        c.code("Malloc", ctypes.byref(ctypes.c_void_p()), 8),
    )[1],
    "waiting in a capture for outside": lambda c: c.code(
        "StreamWaitEvent", *(_uncaptured_event(c), _capturing(c))[::-1], 0
    ),
    "destroying a captured stream": lambda c: c.code("StreamDestroy", _capturing(c)),
    "own handle": lambda c: c.code(
        "IpcOpenMemHandle", ctypes.byref(ctypes.c_void_p()), _own_handle(c), 1
    ),
    "flags of a handle": lambda c: c.code(
        "IpcOpenMemHandle", ctypes.byref(ctypes.c_void_p()), _own_handle(c), 0
    ),
    "handle of no memory": lambda c: c.code(
        "IpcGetMemHandle", ctypes.byref(Handle()), c.pinned(8)
    ),
    "handle of a private event": lambda c: c.code(
        "IpcGetEventHandle", ctypes.byref(Handle()), c.event()
    ),
    "tensor dies in use": _tensor_dies,
    "tensor dies without an event": _tensor_dies_on_the_way,
    "no event between two streams": _unordered,
}


def breaks_rule(here, name):
    """Breaks one rule: the code, how many violations there are, and the last one."""
    cuda = here.cuda
    cuda.call("SetDevice", 0)
    code = RULES[name](cuda)
    return code, *cuda.text("violations")


def uses_fork(here):
    """A forked child that uses CUDA; its exit status is the code of its call."""
    cuda = here.cuda
    cuda.malloc(8)
    child = os.fork()
    if child == 0:
        os._exit(cuda.code("SetDevice", 0))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
