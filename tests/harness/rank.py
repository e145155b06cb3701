"""A rank: a forked process that runs one function after another until it is ended."""

import faulthandler
import importlib
import importlib.util
import os
import pickle
import random
import reprlib
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from functools import reduce

from ._here import here


@dataclass(frozen=True)
class Job:
    """What every rank of a run is to do; the same for all of them."""

    # Where the function is: an importable module, or else the file of that name.
    module: str
    file: str
    name: str
    # The arguments' pickle: the server cannot read classes of test modules.
    arguments: bytes
    path: tuple[str, ...]
    environment: dict
    directory: str


def serve(channel):
    """Run jobs as they come; never returns. Idle, a rank ignores Ctrl-C."""
    faulthandler.enable(file=2, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    home = dict(os.environ)
    while True:
        try:
            job = channel.receive()
        except EOFError:
            os._exit(0)
        outcome = _run(job)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        outcome["reusable"] = _restore(home) and "value" in outcome
        _flush()
        channel.send(("done", outcome))


def _run(job):
    """The job's outcome as a dict: `value` as a pickle, or the exception's parts."""
    began = time.monotonic()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(job.environment)
        os.chdir(job.directory)
        sys.path[:] = job.path
        function = _find(job)
        arguments = pickle.loads(job.arguments)
        began = time.monotonic()
        value = function(*arguments)
        seconds = time.monotonic() - began
        return {"value": pickle.dumps(value, protocol=5), "seconds": seconds}
    except SystemExit as error:
        _flush()
        os._exit(_exit_code(error.code))
    except BaseException as error:
        return _exception_parts(error, time.monotonic() - began)


def _find(job):
    """The function, from its module, which is imported at most once a process."""
    try:
        module = importlib.import_module(job.module)
    except ModuleNotFoundError as error:
        if error.name != job.module.partition(".")[0]:
            raise
        module = _load_file(job)
    return reduce(getattr, job.name.split("."), module)


def _load_file(job):
    spec = importlib.util.spec_from_file_location(job.module, job.file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[job.module] = module
    spec.loader.exec_module(module)
    return module


def _exit_code(code):
    """What the interpreter would make of sys.exit's argument."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _exception_parts(error, seconds):
    # The first frame is this file's own and tells nobody anything.
    trace = error.__traceback__.tb_next
    kind = type(error)
    lines = traceback.format_exception(kind, error, trace)
    return {
        "exception_type_name": _qualified(kind),
        "exception_bases": tuple(_qualified(base) for base in kind.__mro__),
        "message": str(error),
        "traceback": "".join(lines) + _failed_names(error, trace),
        "seconds": seconds,
    }


def _qualified(kind):
    return f"{kind.__module__}.{kind.__qualname__}"


def _failed_names(error, trace):
    """The local names of the frame whose assertion failed.

    pytest does not rewrite assertions in a rank; this is what one would miss most.
    """
    if not isinstance(error, AssertionError) or trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    names = trace.tb_frame.f_locals.items()
    return "".join(f"    {name} = {short.repr(value)}\n" for name, value in names)


def _restore(home):
    """Undo what a test left behind; false if this process is no longer as it was."""
    if dict(os.environ) != home:
        os.environ.clear()
        os.environ.update(home)
    random.seed(0)
    return _restore_pyaccel() and threading.active_count() == 1


def _restore_pyaccel():
    """Forget pyaccel's shared state but keep its group, which is the costly part."""
    native = sys.modules.get("pyaccel._C")
    if native is not None and hasattr(native, "force_tensor_path"):
        native.force_tensor_path("auto")
    state = sys.modules.get("pyaccel.state")
    if state is None:
        return True
    state.AcceleratorState._reset_state(reset_partial_state=True)
    group = sys.modules.get("pyaccel._group")
    comm = getattr(group, "comm", None)
    if comm is None:
        return True
    if comm.closed or comm.broken is not None:
        return False
    comm.timeout = _DEFAULT_TIMEOUT
    return True


# The deadline of a collective that PartialState sets up by default, in seconds.
_DEFAULT_TIMEOUT = 1800.0


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # A test may have closed its stream; its output so far is kept anyway.
            continue


def place(rank, pids, channel):
    """Tell the `here` of this process where it is."""
    here.rank, here.size, here.pids = rank, len(pids), tuple(pids)
    here._channel = channel
