"""All keys of a contract, some at a time: for a contract that begins, and where entries were lost."""

from __future__ import annotations

import time
from typing import Any

from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys

KEYS_A_STEP = 1000


class KeyCopy:
    """One walk through the keys of one server. What is there from its begin to its end is met at least once."""

    def __init__(self, redis: RedisStore, plan: StatePlan, unfit: UnfitKeys) -> None:
        self._redis, self._plan, self._unfit = redis, plan, unfit
        self._cursor, self._began = 0, time.monotonic()
        self.copied = 0
        """Keys that were met so far."""
        self.is_done = False

    @property
    def seconds(self) -> float:
        """Since its begin."""
        return time.monotonic() - self._began

    def next(self) -> list[bytes]:
        """Some keys; none does not mean that there are no more."""
        with translated():
            found: Any = self._redis.client.scan(self._cursor, match=self._plan.pattern, count=KEYS_A_STEP)
        self._cursor, (keys, others) = int(found[0]), self._plan.apart(found[1])
        self._unfit.note(others)
        self.is_done = self._cursor == 0
        self.copied += len(keys)
        return keys
