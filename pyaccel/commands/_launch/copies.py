"""Which lines get a prefix and which streams a log: `--tee`, `--log_dir`, `--role`.

The folders of a launch are like torchrun's:

    LOG_DIR/pyaccel_NAME/attempt_0/RANK/stdout.log (and stderr.log)
"""

import os

from pyaccel.commands._launch.errors import LaunchError

_NAMES = ("stdout", "stderr")
_VALUES = ("0", "1", "2", "3")


def parse_tee(text, size):
    """For each rank the value of --tee: bit 1 stands for stdout, bit 2 for stderr."""
    if text in _VALUES:
        return [int(text)] * size
    values = [0] * size
    for part in text.split(","):
        rank, colon, value = part.partition(":")
        if not (colon and rank.isdecimal() and value in _VALUES):
            raise LaunchError(
                f"--tee must be 0, 1, 2 or 3, or say it for each rank as in 0:3,2:1, "
                f"not {text!r}"
            )
        if int(rank) >= size:
            raise LaunchError(
                f"--tee {text!r} names rank {rank}, but there are {size} processes"
            )
        values[int(rank)] = int(value)
    return values


class Copies:
    """What becomes of the streams of the workers besides being passed on.

    `complain` is called with a sentence when a log cannot go on.
    """

    def __init__(self, settings, complain):
        self._tee = parse_tee(settings.tee, settings.num_processes)
        self._role = settings.role
        self._complain = complain
        self._folder = None
        self._all = not any(self._tee)
        if settings.log_dir is not None:
            name = f"pyaccel_{os.urandom(4).hex()}"
            self._folder = os.path.join(settings.log_dir, name, "attempt_0")

    def wants(self, rank, stream):
        """Whether the stream (0 stdout, 1 stderr) has to come to the launcher."""
        logged = self._folder is not None and self._all
        return logged or bool(self._tee[rank] & (1 << stream))

    def prefix(self, rank, stream):
        """What to put before each line of the stream."""
        if not self._tee[rank] & (1 << stream):
            return b""
        return f"[{self._role}{rank}]:".encode(errors="replace")

    def log(self, rank, stream):
        """A new log for the stream, or None."""
        if self._folder is None or not self.wants(rank, stream):
            return None
        folder = os.path.join(self._folder, str(rank))
        path = os.path.join(folder, f"{_NAMES[stream]}.log")
        try:
            os.makedirs(folder, exist_ok=True)
            return Log(path, self._complain)
        except OSError as error:
            raise LaunchError(
                f"the log {path!r} cannot be made: {error.strerror}; choose another "
                "--log_dir, or leave it out"
            ) from None


class Log:
    """A file that gets what one stream of one worker has written.

    One that cannot go on (a full disk) ends, which is said once; the output itself goes
    on, and so does the launch.
    """

    def __init__(self, path, complain):
        self._path = path
        self._complain = complain
        self._fd: int | None = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666
        )

    def write(self, data):
        """Add `data`, unless the log has ended."""
        while data and self._fd is not None:
            try:
                data = data[os.write(self._fd, data) :]
            except OSError as error:
                self.close()
                self._complain(
                    f"the log {self._path!r} cannot be written: {error.strerror}; it "
                    "ends here, and the output goes on without it"
                )

    def close(self):
        """May be called twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
