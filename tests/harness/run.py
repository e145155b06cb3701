"""One run: a job sent to every rank of a group, and what came back so far."""

import contextlib
import time

from .outcome import describe_exit

# How long the others may go on after a rank has failed in a run that is then lost.
_GRACE_SECONDS = 5.0


class Run:
    """The server's account of a run; its methods are called as events come in."""

    def __init__(self, group, request):
        self.group = group
        # Ranks that were not done when the deadline came; None while it has not.
        self.late = None
        self.first_failed = None
        self._request = request
        self._deadline = time.monotonic() + request.timeout
        self._results = {}
        self._posted = set()
        self._waiting = []
        # Why nobody may wait any more, if so.
        self._stopped = None

    def start(self):
        """Send the job to every rank."""
        for member in self.group.members:
            member.clear_output()
        for member in self.group.members:
            member.channel.send(self._request.job)

    @property
    def done(self):
        """Whether every rank has answered or ended."""
        return len(self._results) == self.group.size

    @property
    def reusable(self):
        """Whether the group is as good as before."""
        return self.done and all(
            result.get("reusable", False) for result in self._results.values()
        )

    def time_left(self):
        return max(0.0, self._deadline - time.monotonic())

    def handle(self, member, message):
        """A message of a rank: it is done, or it posts or awaits a name."""
        kind, content = message
        if kind == "post":
            self._post(content)
        elif kind == "wait":
            self._wait(member, content)
        elif kind == "done":
            self._results[member.rank] = content
            if "value" not in content:
                name = content["exception_type_name"].removeprefix("builtins.")
                self._failed(member, f"raised {name}: {content['message']}")

    def ended(self, member):
        """A rank's process has ended, before or after its answer."""
        self._results.setdefault(member.rank, {}).update(
            exit=member.exit, reusable=False
        )
        self._failed(member, describe_exit(member.exit))
        self._post(("ended", member.rank))

    def expire(self):
        """The deadline has passed: have the ranks write their stacks, and end."""
        late = [m for m in self.group.members if m.rank not in self._results]
        self.late = [member.rank for member in late]
        self.group.dump(late)
        for member in late:
            self._results[member.rank] = {"exit": member.exit}

    def outcomes(self):
        """By rank: the parts of an Outcome, output included, as a dict."""
        outcomes = []
        for member in self.group.members:
            stdout, stderr = member.output()
            result = {**self._results[member.rank], "stdout": stdout, "stderr": stderr}
            result.pop("reusable", None)
            outcomes.append(result)
        return outcomes

    def _failed(self, member, what):
        """Note the first failure and, where it spoils the run, let nobody wait on.

        Waiters on shared memory are told at once, as a launcher would; whatever else
        a rank may wait for, it gets a short grace.
        """
        if self.first_failed is not None:
            return
        self.first_failed = member.rank
        if self._request.stop_at_failure:
            self._stopped = f"rank {member.rank} {what}"
            self.group.mark_ended(member.rank, self._stopped)
            for waiter, _ in self._waiting:
                self._answer(waiter)
            self._waiting.clear()
            grace = time.monotonic() + _GRACE_SECONDS
            self._deadline = min(self._deadline, grace)

    def _post(self, name):
        self._posted.add(name)
        for member in [m for m, awaited in self._waiting if awaited == name]:
            self._waiting.remove((member, name))
            self._answer(member)

    def _wait(self, member, name):
        if name in self._posted or self._stopped:
            self._answer(member)
        else:
            self._waiting.append((member, name))

    def _answer(self, member):
        # It may end at this moment; its descriptor will tell.
        with contextlib.suppress(ConnectionError):
            member.channel.send(self._stopped)
