"""PYACCEL_CONTROL, by which a rank is told from the processes that it starts.

    <pid of the rank>:<descriptor of the launcher's segment, or -1>:<identity>

The launcher sets it for its workers, and a process that another launcher started sets
it for its children when it has joined a group. A child inherits the variables of its
parent's rank; it is alone as long as they still say what they said to the parent. One
for which somebody set others is a rank of a group of its own.
"""

import os

NAME = "PYACCEL_CONTROL"
# <port>:<secret>: what opens our own keys in the store that the launcher serves there.
SECRET = "PYACCEL_SECRET"
# The variables that make one rank of one job; torchrun may number several jobs alike.
_IDENTITY = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
_INTERPRETERS = ("python", "pypy")


def compose(pid: int | str, fd: int, variables: dict[str, str]) -> str:
    """The value for the rank that is process `pid` and has these variables.

    `pid` may be a text that is to become the number where nobody knows it yet.
    """
    return f"{pid}:{fd}:{_identity(variables)}"


def descriptor() -> int | None:
    """The launcher's descriptor, -1 without one, None in a child of a rank."""
    text = os.environ.get(NAME, "")
    if not text:
        return -1
    fields = text.split(":", 2)
    try:
        rank_pid, rank_fd = map(int, fields[:2])
    except ValueError:
        raise ValueError(
            f"{NAME} is {text!r}, not <pid>:<descriptor>:<identity>: pyaccel alone "
            "sets it; unset it"
        ) from None
    if rank_pid == os.getpid():
        return rank_fd
    if fields[2:] not in ([], [_identity(dict(os.environ))]):
        return -1
    # A shell or another program that only starts the script is no rank itself.
    return -1 if _is_another_program(rank_pid) else None


def set_for_children() -> None:
    """Notes that this process is a rank and what the processes it starts inherit."""
    os.environ[NAME] = compose(os.getpid(), -1, dict(os.environ))


def _identity(variables: dict[str, str]) -> str:
    return ",".join(variables.get(name, "") for name in _IDENTITY)


def _is_another_program(pid: int) -> bool:
    """Whether a process runs something else than Python, as far as can be known."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False
    return not program.startswith(_INTERPRETERS)
