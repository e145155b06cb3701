"""Starts the workers of one launch and stays until they have ended."""

import errno
import os

from pyaccel import _C
from pyaccel.commands._launch import environment, port, signals, worker
from pyaccel.commands._launch.copies import Copies
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.output import Sink
from pyaccel.commands._launch.stdio import Stdio
from pyaccel.commands._launch.supervisor import Supervisor

# As many as nobody can guess.
_SECRET_BYTES = 32


def run(settings, command):
    """Run `command` on every process that `settings` ask for; the exit code."""
    _open_standard_descriptors()
    sinks = Sink(1), Sink(2)
    notes = [] if settings.quiet else settings.notes
    for note in notes:
        sinks[1].say(note)
    opened: list = []
    try:
        return _run(settings, command, sinks, opened)
    finally:
        # Not contextlib.ExitStack, whose import takes longer than all of this.
        for one in reversed(opened):
            one.close()


def _run(settings, command, sinks, opened):
    """`run` proper; what must be closed in the end is put into `opened`."""
    copies = Copies(settings, sinks[1].say)
    segment = store = None
    secret = b""
    if settings.num_processes > 1:
        # Listens before there is anyone to connect.
        secret = os.urandom(_SECRET_BYTES)
        store = port.serve(settings.main_process_port, secret)
        opened.append(store)
        segment = _segment(settings.num_processes)
    if segment is not None:
        opened.append(segment)
    served = store.port if store else port.choose(settings.main_process_port)
    threads = environment.threads(settings, _C.usable_cpus())
    variables = environment.shared(settings, served, threads, secret)
    catcher = signals.Signals()
    opened.append(catcher)
    say = _nothing if settings.quiet else sinks[1].say
    stdio = Stdio(sinks, copies, settings.num_processes, say)
    opened.append(stdio)
    segment_fd = None if segment is None else segment.fd
    workers = _start(settings.num_processes, command, variables, stdio, segment_fd)
    return Supervisor(
        workers,
        stdio.sources,
        sinks,
        catcher,
        segment=segment,
        store=store,
        terminal=stdio.terminal,
        screen=stdio.screen,
        settings=settings,
    ).run()


def _nothing(text):
    """What --quiet makes of a note."""


def _open_standard_descriptors():
    """Fill 0, 1 and 2 if the launcher was started without, so that no pipe is one."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return


# What a sandbox answers to a system call that it forbids.
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
# What fewer processes, or a higher limit, would help against.
_SHORTAGE = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)


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


def _start(size, command, variables, stdio, segment_fd):
    """Start all workers, or end those that were started and raise."""
    workers: list[worker.Worker] = []
    try:
        for rank in range(size):
            descriptors, terminal, close = stdio.of_rank(rank)
            try:
                one = worker.start(
                    *(rank, command, variables, descriptors),
                    segment_fd=segment_fd,
                    terminal=terminal,
                )
            finally:
                for fd in close:
                    os.close(fd)
            workers.append(one)
    except (OSError, LaunchError) as error:
        for one in workers:
            one.send(signals.KILL)
            one.reap()
        if isinstance(error, LaunchError):
            raise
        raise _not_started(len(workers), size, error) from None
    return workers


def _not_started(rank, size, error):
    if error.errno in _SHORTAGE:
        remedy = "start fewer, or raise the limit (ulimit)"
    elif error.errno == errno.ENOEXEC:
        remedy = "a text needs a first line that names its interpreter (#!/bin/sh)"
    else:
        remedy = "change that, or run another program"
    return LaunchError(
        f"rank {rank} of {size} cannot be started: {error.strerror}; {remedy}"
    )
