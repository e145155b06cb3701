"""The port at which rank 0 will serve the group's store."""

import errno
import socket

from pyaccel.commands._launch.errors import LaunchError

_LARGEST = 65535


def choose(wanted):
    """A free port for `wanted` 0 or None; else `wanted` itself, which must be free."""
    if not wanted:
        with socket.socket() as probe:
            probe.bind(("", 0))
            return probe.getsockname()[1]
    if not 0 < wanted <= _LARGEST:
        raise LaunchError(
            f"--main_process_port must be between 0 and {_LARGEST}, not {wanted}"
        )
    with socket.socket() as probe:
        # Ports whose last connection is still being forgotten can be served again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", wanted))
        except OSError as error:
            reason = (
                "is in use by another process"
                if error.errno == errno.EADDRINUSE
                else f"cannot be served ({error.strerror})"
            )
            raise LaunchError(
                f"port {wanted} of --main_process_port {reason}; choose another, or 0 "
                "for any free one"
            ) from None
    return wanted
