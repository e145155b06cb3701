"""The port of the group's store, and the store, which the launcher serves there."""

import errno
import os

from pyaccel import _C
from pyaccel.commands._launch.errors import LaunchError

_LARGEST = 65535
# As /proc/net/tcp writes the state of a socket that listens.
_LISTENS = "0A"


def serve(wanted, secret=b""):
    """The store of a group, listening at `wanted`, at any free port for 0 or None.

    Who shows the secret may use the keys that are reserved for pyaccel there.
    """
    _check_range(wanted)
    try:
        return _C.StoreServer(port=wanted or 0, secret=secret)
    except OSError as error:
        raise _refused(wanted, error) from None


def choose(wanted):
    """A free port for `wanted` 0 or None; else `wanted` itself, which must be free.

    For a process without a group, whose script may want to serve there.
    """
    probe = serve(wanted)
    port = probe.port
    probe.close()
    return port


def is_here(host):
    """Whether a name or an address is one of this machine: only those can be served."""
    try:
        _C.StoreServer(host).close()
    except (OSError, ValueError):  # not ours, or not known at all
        return False
    return True


def _check_range(wanted):
    if not 0 <= (wanted or 0) <= _LARGEST:
        raise LaunchError(
            f"--main_process_port must be between 0 and {_LARGEST}, not {wanted}"
        )


def _refused(wanted, error):
    """The error of a port that cannot be served."""
    if not wanted:
        return LaunchError(f"no port of this machine can be served: {error.strerror}")
    if error.errno == errno.EADDRINUSE:
        reason = f"is in use by {_holder(wanted) or 'another process'}"
    else:
        reason = f"cannot be served ({os.strerror(error.errno)})"
    return LaunchError(
        f"port {wanted} of --main_process_port {reason}; choose another, or 0 for any "
        "free one"
    )


def _holder(port):
    """`python (pid 123)` for the process that listens at a port; None if unknown."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in sockets:
                    with open(f"/proc/{pid}/comm") as file:
                        return f"{file.read().strip()} (pid {pid})"
        except OSError:  # it has just ended, or belongs to another user
            continue
    return None


def _listening(port):
    """The inodes of the sockets that listen at a port, on whatever address."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                lines = file.read().splitlines()[1:]
        except OSError:  # no IPv6, or no /proc
            continue
        for line in lines:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                yield inode
