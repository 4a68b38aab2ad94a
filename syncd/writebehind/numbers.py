"""The number with which a run's writes to MongoDB begin: above those of all runs before, of whichever daemon.

It is Redis's time, or, where that went back, a little more than the last one, which Redis keeps. Where Redis has lost
that, MongoDB refuses the first write, and says what it has seen.
"""

from __future__ import annotations

from typing import Any

from syncd.stores.lease import Lease, fenced, newer_protocol
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore


class Numbers:
    """Of one contract, called by its lane's thread, which holds the lease."""

    def __init__(self, redis: RedisStore, keys: ControlKeys, lease: Lease) -> None:
        self._redis, self._keys, self._lease = redis, keys, lease
        self._seen = 0

    def learn(self, seen: int) -> None:
        """MongoDB knows a later number."""
        self._seen = max(self._seen, seen)

    def next(self) -> int:
        """For a run that begins. Raises FencedError."""
        self._lease.touch()
        keys = [self._keys.lease, self._keys.position]
        reply: Any = self._redis.call("syncd_number", keys, [self._lease.value, self._seen])
        if reply[0] == b"version":
            raise newer_protocol(reply)
        if reply[0] == b"fenced":
            raise fenced(self._keys.contract, reply)
        return int(reply[1])
