"""The number with which a run's writes to MongoDB begin: above those of all runs before, of any daemon.

It is Redis's time, or, where that went back, a little more than the last one, which Redis keeps. Where Redis has lost
that, MongoDB refuses the first write, and says what it has seen.
"""

from __future__ import annotations

from syncd.stores.redis.records.lease import Lease


class Numbers:
    """Of one contract, called by its lane's thread, which holds the lease."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._seen = 0

    def learn(self, seen: int) -> None:
        """MongoDB knows a later number."""
        self._seen = max(self._seen, seen)

    def next(self) -> int:
        """For a run that begins. Raises FencedError."""
        return int(self._lease.call("syncd_number", [], [self._seen])[1])
