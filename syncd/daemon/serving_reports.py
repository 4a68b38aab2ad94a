"""Reports to standbys, through Redis, whether the lanes of this daemon serve, while it holds their leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from syncd.errors import StoreError
from syncd.lanes.lane import BaseLane
from syncd.stores.redis.records.layout import SERVES
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.serving import say
from syncd.stores.redis.store import RedisStore

POLL_S = 0.5
"""How soon a change is reported."""


class ServingReports(threading.Thread):
    """One thread for all lanes. A report lives as long as a lease; it is sent again after a third of that."""

    def __init__(
        self, redis: RedisStore, lanes: Callable[[], Iterable[BaseLane]], lease_ttl_s: float
    ) -> None:
        super().__init__(name="serving-reports", daemon=True)
        self._redis, self._lanes, self._every_s = redis, lanes, lease_ttl_s / 3
        self._halt = threading.Event()
        self._said: dict[Lease, tuple[str, bool]] = {}
        self._at = 0.0

    def run(self) -> None:
        """Report until stopped."""
        while not self._halt.wait(POLL_S):
            try:
                self._report()
            except StoreError:  # the lanes report what is wrong with Redis
                self._said = {}

    def stop(self) -> None:
        """Report nothing more."""
        self._halt.set()

    def _report(self) -> None:
        words = {word[0]: word[1] or SERVES for lane in self._lanes() if (word := lane.word) is not None}
        is_due = time.monotonic() - self._at > self._every_s
        if is_due:
            self._at = time.monotonic()
        news = {lease: word for lease, word in words.items() if is_due or self._is_news(lease, word)}
        if news:
            say(self._redis.renewed(), news)
        self._said = {lease: (lease.value, word == SERVES) for lease, word in words.items()}

    def _is_news(self, lease: Lease, word: str) -> bool:
        """Whether the lease or the readiness of a lane has changed; how late the lane is does not count."""
        return self._said.get(lease) != (lease.value, word == SERVES)
