"""Watches over started workers until none is left, in one loop around `poll`."""

import select
import time

from pyaccel.commands._launch import groups, signals
from pyaccel.commands._launch.failure import Failures
from pyaccel.commands._launch.terminal import LOOK

_NEVER = float("inf")
# Seconds between looks at processes that are not our children, when there are any.
_LOOK = 0.02
# Seconds for which killed processes may take to disappear.
_LAST_WAIT = 5.0


class Supervisor:
    """Forwards output and signals; ends all workers when one fails.

    `sources` are the workers' output, one list a rank (empty lists if they write to
    the launcher's descriptors themselves); `segment` and `store` may be None for one
    worker; `terminal` and `screen` are those of rank 0, or None.
    """

    def __init__(
        self,
        workers,
        sources,
        sinks,
        catcher,
        *,
        segment,
        store,
        terminal,
        screen,
        settings,
    ):
        self._workers = workers
        self._sources = sources
        self._out, self._err = sinks
        self._catcher = catcher
        self._segment = segment
        self._store = store
        self._terminal = terminal
        self._screen = screen
        self._grace = settings.grace
        self._quiet = settings.quiet
        # The process groups in which something may still run.
        self._groups = {worker.pid for worker in workers}
        self._failures = Failures(workers, sources)
        self._interrupted = False
        # After the second interrupt: output that nobody reads is not waited for.
        self._impatient = False
        self._look_for_ends = True
        # From the first TERM or INT on: when to kill, and then when to give up.
        self._deadline = None
        self._killed = False
        self._gave_up = False
        # Nobody reads the output any more, as after `| head`.
        self._unread = False

    def run(self):
        """Return when all workers and their children have ended: the exit code."""
        while not self._gave_up and not all(worker.ended for worker in self._workers):
            self._step()
        self._end_what_is_left()
        for source in self._all_sources():
            source.drain(time.monotonic())
            source.close()
        while self._pending() and not self._gave_up and not self._impatient:
            self._step()
        return self._exit_code()

    def _step(self, at_most=_NEVER):
        """Wait for the next thing to happen, at most so many seconds, and handle it."""
        poller, readers, writers = self._interests()
        ready = {fd for fd, _ in poller.poll(self._timeout(at_most))}
        now = time.monotonic()
        if self._catcher.fd in ready:
            for number in self._catcher.read():
                self._handle_signal(number, now)
        for fd, read in readers.items():
            if fd in ready:
                read(now)
        for fd, write in writers.items():
            if fd in ready:
                write()
                # Both sinks may lead to one pipe, whose room the first has used.
                break
        self._do_what_is_due(now)
        if self._look_for_ends:
            self._look_for_ends = False
            self._check_ends(now)
        if self._deadline is None and (self._out.broken or self._err.broken):
            # Ended here, as each of them would otherwise fail by itself, and say so.
            self._unread = True
            self._end(signals.TERM, now)
        if self._failures and self._deadline is None:
            self._end_after_failure(now)
        if self._deadline is not None and self._deadline <= now:
            self._escalate(now)

    def _do_what_is_due(self, now):
        for source in self._all_sources():
            if source.due is not None and source.due <= now:
                source.flush()
        if self._terminal is not None and self._terminal.looks_again():
            self._terminal.refresh()

    def _interests(self):
        """What to wait for: a poll object, and who handles which descriptor."""
        readers = {s.fd: s.read for s in self._all_sources() if not s.sink.full}
        writers = {s.fd: s.write for s in (self._err, self._out) if s.waiting}
        if self._store is not None:
            readers[self._store.poll_fd] = lambda now: self._store.step()
        if self._terminal is not None:
            to_read, to_write = self._terminal.interests()
            readers.update((fd, lambda now: self._terminal.read()) for fd in to_read)
            writers.update((fd, self._terminal.write) for fd in to_write)
        poller = select.poll()
        poller.register(self._catcher.fd, select.POLLIN)
        for fd in readers:
            poller.register(fd, select.POLLIN)
        for fd in writers:
            poller.register(fd, select.POLLOUT)
        return poller, readers, writers

    def _timeout(self, at_most):
        """Milliseconds until the next thing that is due, None if there is nothing."""
        times = [s.due for s in self._all_sources() if s.due is not None]
        if self._deadline is not None:
            times.append(self._deadline)
        elif self._failures:
            times.append(self._failures.due())
        if self._terminal is not None and self._terminal.looks_again():
            at_most = min(at_most, LOOK)
        seconds = min(min(times, default=_NEVER) - time.monotonic(), at_most)
        return None if seconds == _NEVER else max(0, int(seconds * 1000) + 1)

    def _all_sources(self):
        return [s for of_rank in self._sources for s in of_rank if s.open]

    def _pending(self):
        return self._err.waiting or self._out.waiting

    def _handle_signal(self, number, now):
        if number == signals.CHLD:
            self._look_for_ends = True
        elif number == signals.CONT:
            if self._terminal is not None:
                self._terminal.refresh()
        elif number == signals.WINCH:
            if self._screen is not None:
                self._screen.resize()
        elif number == signals.TSTP:
            self._stop()
        elif not self._groups:  # only output is left, which nobody may be reading
            self._gave_up = True
        elif number == signals.INT and self._interrupted:
            self._impatient = True
            self._kill(now)
        else:
            self._interrupted = self._interrupted or number == signals.INT
            self._note(
                f"received {signals.name(number)} and passed it on; what has not ended "
                f"within {self._grace:g} s is killed"
            )
            self._end(number, now)

    def _stop(self):
        """Stop with all workers, as Ctrl-Z asks, until the shell says to go on."""
        # They are not in the group that the shell stops, nor would all heed TSTP.
        self._send(signals.STOP)
        if self._terminal is not None:
            self._terminal.leave()
        self._catcher.stop()
        if self._terminal is not None:
            self._terminal.refresh()
        self._send(signals.CONT)

    def _check_ends(self, now):
        ended = [worker for worker in self._workers if worker.check()]
        for worker in ended:
            if self._segment is not None:
                self._segment.mark_ended(worker.rank, worker.describe_end())
            # So that its last words, such as a traceback, stand before the report.
            for source in self._sources[worker.rank]:
                source.drain(now)
            if worker.code != 0:
                self._failures.add(worker, now)

    def _end_after_failure(self, now):
        """Report the first failure and end the others, once it is known which it is."""
        worker = self._failures.first(now)
        if worker is not None:
            self._report(worker)
            self._end(signals.TERM, now)

    def _report(self, worker):
        text = worker.describe_end()
        if worker.code == -signals.KILL:
            text += " (by the kernel, if memory ran out)"
        others = sum(not other.ended for other in self._workers)
        if others:
            text += (
                f"; ending the other {others}" if others > 1 else "; ending the other"
            )
        self._note(text)

    def _note(self, text):
        if not self._quiet:
            self._err.say(text)

    def _send(self, number):
        for pgid in self._groups:
            groups.send(pgid, number)

    def _end(self, number, now):
        """Ask everyone to end, by `number`; who has not within the grace is killed."""
        self._send(number)
        # A stopped process gets no signal but KILL before it goes on.
        self._send(signals.CONT)
        if self._deadline is None:
            self._deadline = now + self._grace

    def _kill(self, now):
        self._killed = True
        self._send(signals.KILL)
        self._deadline = now + _LAST_WAIT

    def _escalate(self, now):
        if not self._killed:
            self._kill(now)
            return
        self._gave_up = True
        left = ", ".join(str(w) for w in self._workers if not w.ended) or "a child"
        self._err.say(
            f"{left} has not ended {_LAST_WAIT:g} s after SIGKILL; leaving it"
        )

    def _end_what_is_left(self):
        """End the processes that ended workers have left in their groups."""
        for worker in self._workers:
            if worker.ended:
                worker.reap()
        # Without its zombie a group without processes is gone, and one with processes
        # keeps its number: from here on only those are signalled.
        self._groups = {pgid for pgid in self._groups if not groups.is_empty(pgid)}
        while self._groups and not self._gave_up:
            self._groups = groups.alive(self._groups)
            if self._groups and self._deadline is None:
                self._end(signals.TERM, time.monotonic())
            if self._groups:
                self._step(at_most=_LOOK)

    def _exit_code(self):
        if self._unread:
            return 128 + signals.PIPE
        if not self._failures:
            return 0
        code = self._failures.first(_NEVER).code
        return 128 - code if code < 0 else code
