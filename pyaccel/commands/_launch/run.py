"""Starts the workers of one launch and stays until they have ended."""

import errno
import os
import signal
from contextlib import ExitStack

from pyaccel import _C
from pyaccel.commands._launch import environment, port, worker
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.output import Sink, Source
from pyaccel.commands._launch.signals import Signals
from pyaccel.commands._launch.supervisor import Supervisor
from pyaccel.commands._launch.terminal import Terminal, open_controlling


def run(settings, command):
    """Run `command` on every process that `settings` ask for; the exit code."""
    _open_standard_descriptors()
    sinks = Sink(1), Sink(2)
    if not settings.quiet:
        for note in settings.notes:
            sinks[1].say(note)
    with ExitStack() as stack:
        segment = store = None
        if settings.num_processes > 1:
            # Listens before there is anyone to connect.
            store = port.serve(settings.main_process_port)
            stack.callback(store.close)
            segment = _segment(settings.num_processes)
        if segment is not None:
            stack.callback(segment.close)
        served = store.port if store else port.choose(settings.main_process_port)
        threads = environment.threads(settings, _C.usable_cpus())
        common = environment.shared(settings, served, threads)
        catcher = stack.enter_context(Signals())
        crew = _Crew(settings, sinks, segment)
        stack.callback(crew.close)
        crew.start(command, common, catcher)
        return Supervisor(
            crew.workers,
            crew.sources,
            sinks,
            catcher,
            segment=segment,
            store=store,
            terminal=crew.terminal,
            settings=settings,
        ).run()


def _open_standard_descriptors():
    """Fill 0, 1 and 2 if the launcher was started without, so that no pipe is one."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return


# What a sandbox answers to a system call that it forbids.
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def _segment(size):
    """The group's memory; None where the system refuses it: the group can bear that."""
    try:
        return _C.Segment(size)
    except OSError as error:
        if error.errno in _REFUSED:
            return None
        raise LaunchError(
            f"the shared memory of {size} processes cannot be made: {error}"
        ) from None


class _Crew:
    """The workers, and the pipes between them and the launcher."""

    def __init__(self, settings, sinks, segment):
        self._size = settings.num_processes
        self._sinks = sinks
        self._segment_fd = None if segment is None else segment.fd
        self.workers = []
        self.sources: list[list[Source]] = [[] for _ in range(self._size)]
        self.terminal = None

    def start(self, command, common, catcher):
        """Start all of them, or end those that were started and raise."""
        for rank in range(self._size):
            try:
                with ExitStack() as copies:
                    stdio = self._stdio(rank, copies)
                    job = worker.Job(rank, command, common, stdio, self._segment_fd)
                    self.workers.append(worker.start(job, catcher))
            except OSError as error:
                self._abandon()
                raise LaunchError(
                    f"rank {rank} of {self._size} cannot be started: {error.strerror}; "
                    "start fewer, or raise the limit (ulimit)"
                ) from None

    def _stdio(self, rank, copies):
        """The descriptors 0, 1 and 2 of `rank`; `copies` closes the launcher's own."""
        stdin = self._stdin(rank, copies)
        if self._size == 1:
            # Alone it has nobody to share with: no need to stand in between.
            return stdin, 1, 2
        ends = []
        for sink in self._sinks:
            launcher_end, worker_end = os.pipe()
            copies.callback(os.close, worker_end)
            self.sources[rank].append(Source(launcher_end, sink))
            ends.append(worker_end)
        return stdin, *ends

    def _stdin(self, rank, copies):
        if rank > 0:
            fd = os.open(os.devnull, os.O_RDONLY)
        elif (terminal := open_controlling()) is not None:
            fd, pipe = os.pipe()
            self.terminal = Terminal(terminal, pipe)
        else:
            return 0
        copies.callback(os.close, fd)
        return fd

    def _abandon(self):
        for one in self.workers:
            one.send(signal.SIGKILL)
            one.reap()

    def close(self):
        """Close the launcher's ends of the pipes."""
        for source in (s for of_rank in self.sources for s in of_rank):
            source.close()
        if self.terminal is not None:
            self.terminal.close()
