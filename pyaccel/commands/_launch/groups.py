"""Process groups: signalling them, and finding out who is left in them."""

import os


def send(pgid, number):
    """Signal every process of the group; it is fine if none is left."""
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        # A process of the group runs as another user (sudo): it is not ours to end.
        pass


def is_empty(pgid):
    """True if the group certainly has no process, not even an unreaped one."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def alive(pgids):
    """The groups among `pgids` in which a process still runs.

    Read from /proc, since a group with nothing but zombies looks the same to `kill`,
    and in a container without an init process zombies stay for ever.
    """
    found = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                line = file.read()
        except OSError:  # it has just ended
            continue
        # "pid (name) state ppid pgrp ...", where the name may hold anything.
        state, _, pgrp = line.rpartition(b")")[2].split()[:3]
        if int(pgrp) in pgids and state not in (b"Z", b"X"):
            found.add(int(pgrp))
    return found
