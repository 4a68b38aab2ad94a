"""How long each of the lanes that are not live waits for an event, so that together they do not ask too often."""

from __future__ import annotations

import threading

from syncd.to_redis.stream.change_stream import AWAIT_MS

BRIEF_MS = 100
"""Short, because readers wait until the lane is live."""
MOST_PER_S = 200
"""What hundreds of lanes that begin together may ask MongoDB; more would keep them from their copies."""


class Pace:
    """Of one daemon. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hurried: set[int] = set()

    def wait_ms(self, lane: object, *, is_live: bool) -> int:
        """How long this lane is to wait now."""
        if is_live:
            self.leave(lane)
            return AWAIT_MS
        with self._lock:
            self._hurried.add(id(lane))
            return min(AWAIT_MS, max(BRIEF_MS, len(self._hurried) * 1000 // MOST_PER_S))

    def leave(self, lane: object) -> None:
        """It asks no more."""
        with self._lock:
            self._hurried.discard(id(lane))
