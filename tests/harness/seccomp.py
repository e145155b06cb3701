"""Runs a command in a sandbox that refuses some system calls, as containers do.

    python -m tests.harness.seccomp memfd_create,pidfd_open COMMAND [ARGUMENT ...]

Every process of the command gets EPERM from the calls named. It needs no rights: a
process may always take some from itself.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# Numbers of system calls by machine: (x86_64, aarch64).
CALLS = {
    "memfd_create": (319, 279),
    "pidfd_open": (434, 434),
    "prctl": (157, 167),
    "process_vm_readv": (310, 270),
}

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD_CALL = (0x20, 0, 0, 0)  # the number of the call, at the start of seccomp_data
_ALLOW = (0x06, 0, 0, 0x7FFF0000)
_REFUSE = (0x06, 0, 0, 0x00050000 | errno.EPERM)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(names):
    """Refuses the named calls to this process and to all that it starts."""
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    steps = [_LOAD_CALL]
    for name in names:
        # If the number is this one go on to the refusal, else skip it.
        steps += [(0x15, 0, 1, CALLS[name][column]), _REFUSE]
    steps.append(_ALLOW)
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(steps), ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl{arguments[:2]}: {os.strerror(number)}")


if __name__ == "__main__":
    refuse(sys.argv[1].split(","))
    os.execvp(sys.argv[2], sys.argv[2:])
