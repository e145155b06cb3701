"""Finds out which worker failed first, which is not always the first that ended.

A worker that raises writes its traceback, and may then take a second to shut down. Its
peers are told that it has left, raise as well, and may be gone before it is. So it is
the first sign of failure that counts, and who has shown one is given time to end.
"""

# Seconds for which the end of such a worker is waited for.
_PATIENCE = 2.0
_NEVER = float("inf")


class Failures:
    """The workers that have ended with a failure, and the signs of others."""

    def __init__(self, workers, sources):
        self._workers = workers
        self._sources = sources
        self._ended_at = {}
        self._failed = []

    def __bool__(self):
        return bool(self._failed)

    def add(self, worker, now):
        """Note that a worker was found at `now` to have failed."""
        self._failed.append(worker)
        self._ended_at[worker.rank] = now

    def due(self):
        """When `first` gives an answer at the latest, if there is a failure."""
        return min(self._ended_at.values()) + _PATIENCE

    def first(self, now):
        """The worker that failed first; None while that may still be another."""
        # Of several at once a killed one is more likely to be the cause than one that
        # missed it.
        cause = min(self._failed, key=lambda w: (self._sign(w), w.code > 0, w.rank))
        sign = self._sign(cause)
        earlier = any(not w.ended and self._sign(w) < sign for w in self._workers)
        return None if earlier and now < self.due() else cause

    def _sign(self, worker):
        """When the worker first showed that it fails: by a traceback, or by its end."""
        times = [s.traceback_at for s in self._sources[worker.rank]]
        times.append(self._ended_at.get(worker.rank, _NEVER))
        return min(times)
