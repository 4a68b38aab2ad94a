"""Has the lane repair what a check found, and waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from syncd.stores.paging import paged
from syncd.stores.redis.records.requests.repairs import MOST_WANTED, repairs_waiting, request_repairs
from syncd.stores.redis.store import RedisStore

POLL_S = 0.05


class Repairer:
    """Asks for repairs of one contract, a bounded number at once."""

    def __init__(self, store: RedisStore, contract: str, stop: threading.Event, wait_s: float) -> None:
        self._store, self._contract, self._stop, self._wait_s = store, contract, stop, wait_s

    def ask(self, entries: Sequence[str]) -> bool:
        """Returns when all are done; False when the lane made no progress for `wait_s`, or the check is to stop.

        The requests stay: to repair later, or twice, does no harm.
        """
        for page in paged(entries, MOST_WANTED):
            request_repairs(self._store, self._contract, page)
            if not self._drained():
                return False
        return True

    def _drained(self) -> bool:
        fewest, end = MOST_WANTED + 1, 0.0
        while waiting := repairs_waiting(self._store, self._contract):
            now = time.monotonic()
            if waiting < fewest:
                fewest, end = waiting, now + self._wait_s
            if now > end or self._stop.wait(POLL_S):
                return False
        return True
