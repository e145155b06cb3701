"""The descriptors 0, 1 and 2 of each worker, and the launcher's ends of them."""

import os

from pyaccel.commands._launch.output import Source
from pyaccel.commands._launch.terminal import Screen, Terminal, create, open_controlling


class Stdio:
    """Makes what workers read and write.

    A worker that shares with nobody writes where the launcher does. Otherwise it has
    pipes; but where the launcher has a terminal rank 0 has one too, unless the launcher
    has something to do to that stream's lines. `say` is called with a note.
    """

    def __init__(self, sinks, copies, size, say):
        self._sinks = sinks
        self._copies = copies
        self._size = size
        self._say = say
        self.sources: list[list[Source]] = [[] for _ in range(size)]
        self.terminal = None
        self.screen = None

    def of_rank(self, rank):
        """(three descriptors, whether one is a new terminal, those to close at last).

        The caller closes the last once the worker has its own copies of them.
        """
        close: list[int] = []
        try:
            its = self._new_terminal(close) if rank == 0 else None
            stdin = self._stdin(rank, its, close)
            streams = [self._stream(rank, n, its, close) for n in (0, 1)]
        except OSError:
            for fd in close:
                os.close(fd)
            raise
        return (stdin, *streams), its is not None, close

    def _new_terminal(self, close):
        """Rank 0's side of a new terminal; None if it is to have none."""
        shown = [n for n in (0, 1) if self._is_shown(n)]
        keyboard = open_controlling()
        alone = self._size == 1 and keyboard is None
        if not shown or alone:
            if keyboard is not None:
                self._read_for_pipe(keyboard, close)
            return None
        like = self._sinks[shown[0]].fd
        modes = None
        if keyboard is not None:
            from pyaccel.commands._launch.modes import Modes

            modes = Modes(keyboard)
        try:
            ours, its = create(like)
        except OSError as error:
            self._say(
                f"rank 0 has pipes, as no terminal can be made for it: {error.strerror}"
            )
            if modes is not None:
                modes.close()
                self._read_for_pipe(keyboard, close)
            return None
        close.append(its)
        echo = Source(ours, self._sinks[shown[0]])
        self.sources[0].append(echo)
        self.screen = Screen(like, ours)
        if keyboard is not None:
            self.terminal = Terminal(keyboard, os.dup(ours), modes=modes, echo=echo)
        return its

    def _read_for_pipe(self, keyboard, close):
        """Hand what is typed to rank 0 through a pipe, by lines."""
        reading, writing = os.pipe()
        close.append(reading)
        self.terminal = Terminal(keyboard, writing)
        self._pipe = reading

    def _is_shown(self, stream):
        """Whether what rank 0 writes there comes to a terminal as it is."""
        return os.isatty(self._sinks[stream].fd) and not self._copies.wants(0, stream)

    def _stdin(self, rank, its, close):
        if rank > 0:
            close.append(os.open(os.devnull, os.O_RDONLY))
            return close[-1]
        if self.terminal is None:
            return 0
        return self._pipe if its is None else its

    def _stream(self, rank, stream, its, close):
        sink = self._sinks[stream]
        if its is not None and self._is_shown(stream):
            return its
        if self._size == 1 and not self._copies.wants(rank, stream):
            # Alone it has nobody to share with: no need to stand in between.
            return sink.fd
        reading, writing = os.pipe()
        close.append(writing)
        self.sources[rank].append(
            Source(
                reading,
                sink,
                prefix=self._copies.prefix(rank, stream),
                log=self._copies.log(rank, stream),
            )
        )
        return writing

    def close(self):
        """Close the launcher's ends, and leave the terminal as it was found."""
        for source in (s for of_rank in self.sources for s in of_rank):
            source.close()
        for end in (self.terminal, self.screen):
            if end is not None:
                end.close()
