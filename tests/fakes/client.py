"""The fakes by ctypes, for processes that run a scene and for the tests themselves.

cuda = Cuda(); nccl = Nccl()
cuda.Malloc(64)            # a call that returns a code: CodeError unless it is 0
cuda.code("Malloc", ...)   # the code itself
"""

import ctypes
import os
from ctypes import c_char, c_int, c_size_t, c_uint, c_uint64, c_void_p

_HANDLE_BYTES = 64
_ID_BYTES = 128


class CodeError(Exception):
    """A call returned a code that is not 0."""

    def __init__(self, name, code):
        super().__init__(f"{name} returned {code}")
        self.code = code


class Handle(ctypes.Structure):
    """Of memory or of an event, for another process."""

    _fields_ = [("bytes", c_char * _HANDLE_BYTES)]


class Identity(ctypes.Structure):
    """Of a communicator."""

    _fields_ = [("bytes", c_char * _ID_BYTES)]


class Config(ctypes.Structure):
    """The beginning of ncclConfig_t."""

    _fields_ = [
        ("nbytes", c_size_t),
        ("magic", c_uint),
        ("version", c_uint),
        ("blocking", c_int),
    ]


class _Library:
    """Functions of one library, without their prefix."""

    def __init__(self, variable, prefix):
        self.library = ctypes.CDLL(os.environ[variable])
        self._prefix = prefix

    def code(self, name, *arguments):
        """Calls a function; integers go as they are, also where C wants a pointer."""
        function = getattr(self.library, self._prefix + name)
        return function(*(_wide(argument) for argument in arguments))

    def call(self, name, *arguments):
        """As code, but CodeError unless it is 0."""
        code = self.code(name, *arguments)
        if code != 0:
            raise CodeError(self._prefix + name, code)

    def made(self, name, *arguments, kind=c_void_p):
        """What a function gives through its first argument."""
        out = kind()
        self.call(name, ctypes.byref(out), *arguments)
        return getattr(out, "value", out)


def _wide(argument):
    """An argument as C takes it: what fits no int is a pointer or a size."""
    if argument is None:
        return c_void_p(None)
    if isinstance(argument, int):
        return c_uint64(argument)
    return argument


class Cuda(_Library):
    """The fake CUDA runtime and its controls (`fake`)."""

    def __init__(self):
        super().__init__("PYACCEL_CUDART_SO", "cuda")
        self.library.fake_alloc.restype = c_void_p
        self.library.fake_queued.restype = c_uint64
        self.library.fake_report_live.restype = c_size_t
        self.library.fake_violations.restype = c_size_t
        self.library.fake_graph_size.restype = c_size_t

    def fake(self, name, *arguments):
        """A function of fakes.h."""
        function = getattr(self.library, f"fake_{name}")
        return function(*(_wide(argument) for argument in arguments))

    def text(self, name):
        """How many, and what, of fake_report_live or fake_violations."""
        text = ctypes.create_string_buffer(1 << 14)
        return self.fake(name, text, len(text)), text.value.decode()

    def malloc(self, nbytes):
        """New memory of the current device."""
        return self.made("Malloc", nbytes)

    def pinned(self, nbytes):
        """New pinned memory."""
        return self.made("HostAlloc", nbytes, 1)

    def stream(self):
        """A new stream of the current device."""
        return self.made("StreamCreateWithFlags", 1)

    def event(self, flags=2):
        """A new event of the current device."""
        return self.made("EventCreateWithFlags", flags)

    def copy(self, to, source, nbytes, stream=0):
        """cudaMemcpyAsync in the direction that follows from the addresses."""
        self.call("MemcpyAsync", to, source, nbytes, 4, stream)

    def wait(self, stream=0):
        """cudaStreamSynchronize."""
        self.call("StreamSynchronize", stream)


class Nccl(_Library):
    """The fake NCCL."""

    def __init__(self):
        super().__init__("PYACCEL_NCCL_SO", "nccl")

    def identity(self):
        """The bytes of a new unique id."""
        return bytes(self.made("GetUniqueId", kind=Identity))

    def comm(self, size, identity, rank, blocking=False):
        """A communicator that has not been polled."""
        comm = c_void_p()
        config = Config(ctypes.sizeof(Config), 0xCAFEBEEF, 21400, int(blocking))
        code = self.library.ncclCommInitRankConfig(
            ctypes.byref(comm),
            size,
            Identity.from_buffer_copy(identity),
            rank,
            ctypes.byref(config),
        )
        if code not in (0, 7):
            raise CodeError("ncclCommInitRankConfig", code)
        return comm.value

    def poll(self, comm):
        """Asks until nothing is in progress; the final state."""
        while (state := self.state(comm)) == 7:
            os.sched_yield()
        return state

    def state(self, comm):
        """One answer of ncclCommGetAsyncError."""
        state = c_int()
        self.call("CommGetAsyncError", comm, ctypes.byref(state))
        return state.value

    def ready(self, name, *arguments, comm):
        """A call on a communicator, polled until it is done."""
        code = self.code(name, *arguments)
        if code == 7:
            code = self.poll(comm)
        if code != 0:
            raise CodeError(f"nccl{name}", code)


def read(address, nbytes):
    """Bytes of memory that the host can reach."""
    return ctypes.string_at(address, nbytes)


def write(address, data):
    """Writes bytes there."""
    ctypes.memmove(address, data, len(data))
