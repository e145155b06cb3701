"""The server: one process that has imported torch once and forks ranks on demand.

It has one thread and waits in one place, the selector, for its client, its ranks and
their ends. When the client is gone, however that happened, it kills what it forked.
"""

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import traceback
from dataclasses import dataclass

from .group import Group, check_single_thread
from .run import Run
from .wire import Channel


@dataclass(frozen=True)
class Request:
    """A run as the client asks for it."""

    job: object
    size: int
    via: str
    # Names and values that the ranks' environment begins with beside the launcher's.
    environment: tuple[tuple[str, str], ...]
    timeout: float
    # Whether to end the other ranks as soon as one has failed.
    stop_at_failure: bool
    # Whether nobody else may use the group, before or after.
    own_group: bool


class Server:
    """Serves one client over one channel until the client closes it."""

    def __init__(self, control):
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._client_ready)
        self._groups = {}
        self._run = None
        self._requests = []

    def serve(self):
        """Return when the client has closed its end."""
        try:
            while True:
                self._poll(None)
                while self._requests:
                    self._control.send(self._answer(self._requests.pop(0)))
        except EOFError:
            return
        finally:
            for key in list(self._groups):
                self._discard(key)

    def _answer(self, request):
        """The reply to one request: ("done", …) or ("failed", traceback)."""
        try:
            return ("done", *self._serve_run(request))
        except EOFError:
            raise
        except Exception:
            return ("failed", traceback.format_exc())

    def _serve_run(self, request):
        """Outcomes of all ranks as dicts, the rank that failed first, and the late."""
        key = (request.size, request.via, request.environment)
        while self._poll(0):
            # A rank of the group may have ended since it was last used.
            continue
        if request.own_group:
            self._discard(key)
        group = self._groups.get(key) or self._make_group(key)
        run = self._run = Run(group, request)
        try:
            run.start()
            while not run.done:
                if not self._poll(run.time_left()):
                    run.expire()
            return run.outcomes(), run.first_failed, run.late
        finally:
            self._run = None
            if request.own_group or not run.reusable:
                self._discard(key)

    def _make_group(self, key):
        # Frozen objects are never collected, so that no child closes a file that an
        # object of the server's owns, whose number the child may use for another.
        gc.collect()
        gc.freeze()
        try:
            group = Group(*key, self._close_inherited)
        finally:
            gc.unfreeze()
        for member in group.members:
            for source in (member.channel, member.pidfd):
                self._selector.register(
                    source, selectors.EVENT_READ, (key, member, source)
                )
        self._groups[key] = group
        return group

    def _discard(self, key):
        group = self._groups.pop(key, None)
        if group is None:
            return
        for member in group.members:
            for source in (member.channel, member.pidfd):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(source)
        group.end()

    def _close_inherited(self):
        """In a new child: close what belongs to the server and its other groups."""
        self._selector.close()
        self._control.close()
        for group in self._groups.values():
            group.close_files()

    def _poll(self, timeout):
        """Handle what is ready; false when nothing was within `timeout`."""
        events = self._selector.select(timeout)
        for event, _ in events:
            if callable(event.data):
                event.data()
            else:
                self._member_ready(*event.data)
        return bool(events)

    def _client_ready(self):
        self._requests += self._control.read_ready()

    def _member_ready(self, key, member, source):
        group = self._groups.get(key)
        if group is None or member not in group.members:
            # Another event of the same poll has ended this group.
            return
        run = self._run if self._run is not None and self._run.group is group else None
        if source is member.channel:
            try:
                messages = member.channel.read_ready()
            except EOFError:
                # The process is ending; its descriptor says when it has ended.
                self._selector.unregister(source)
                return
            for message in messages if run is not None else ():
                run.handle(member, message)
        else:
            self._selector.unregister(source)
            if member.exit is None:
                group.reap(member)
            if run is None:
                self._discard(key)
            else:
                self._last_words(run, member)
                run.ended(member)

    def _last_words(self, run, member):
        """What a rank sent before it ended may still lie in its channel."""
        with contextlib.suppress(EOFError):
            while messages := member.channel.read_ready():
                for message in messages:
                    run.handle(member, message)


def main(descriptor, preload):
    """Serve the client at the other end of `descriptor`, then exit.

    Modules of `preload` that are not installed are left out.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    # Ctrl-C is the client's affair, which closes the channel when it gives up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in preload:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    check_single_thread()
    control = Channel(socket.socket(fileno=descriptor))
    control.send("ready")
    Server(control).serve()
