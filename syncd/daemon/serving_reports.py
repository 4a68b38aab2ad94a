"""Tells those that stand by how the lanes of this daemon are, through Redis, as long as it holds their leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from syncd.errors import StoreError
from syncd.lanes.lane import BaseLane
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.serving import SERVES, say
from syncd.stores.redis.store import RedisStore

LOOK_S = 0.5
"""How soon a change of what there is to say is said."""


class Herald(threading.Thread):
    """One thread for all lanes. What it says lives as long as a lease; it is said again after a third of that."""

    def __init__(
        self, redis: RedisStore, lanes: Callable[[], Iterable[BaseLane]], lease_ttl_s: float
    ) -> None:
        super().__init__(name="herald", daemon=True)
        self._redis, self._lanes, self._every_s = redis, lanes, lease_ttl_s / 3
        self._halt = threading.Event()
        self._said: dict[Lease, tuple[str, bool]] = {}
        self._at = 0.0

    def run(self) -> None:
        """Speak until stopped."""
        while not self._halt.wait(LOOK_S):
            try:
                self._speak()
            except StoreError:  # the lanes say what is wrong with Redis
                self._said = {}

    def stop(self) -> None:
        """Say nothing more."""
        self._halt.set()

    def _speak(self) -> None:
        words = {word[0]: word[1] or SERVES for lane in self._lanes() if (word := lane.word) is not None}
        is_due = time.monotonic() - self._at > self._every_s
        if is_due:
            self._at = time.monotonic()
        news = {lease: word for lease, word in words.items() if is_due or self._is_news(lease, word)}
        if news:
            say(self._redis, news)
        self._said = {lease: (lease.value, word == SERVES) for lease, word in words.items()}

    def _is_news(self, lease: Lease, word: str) -> bool:
        """Whether a lane is ready is; by how much it is late is not."""
        return self._said.get(lease) != (lease.value, word == SERVES)
