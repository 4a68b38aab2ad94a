"""Compares all keys with what was last synced: after a gap in the events it is not known what they would have said."""

from __future__ import annotations

import time
from typing import Any

from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.state.keys.key_copy import KeyCopy
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys

AIM = 100
"""Keys of the pattern that one call should compare: it blocks Redis for a millisecond or two."""
LEAST, MOST = 50, 5000
"""Keys that one call reads; most of them may be another contract's."""
GONE = 1000
"""Keys that one call asks for, whether they are there."""


class CatchUp:
    """One comparison, page by page: keys that are there first, then those that have gone. `everything`: all keys that
    are there, whether they differ or not."""

    def __init__(self, redis: RedisStore, plan: StatePlan, unfit: UnfitKeys, *, everything: bool) -> None:
        self._redis, self._plan, self._synced = redis, plan, ControlKeys(plan.name).synced
        self.everything = everything
        unfit.forget()
        self._all = KeyCopy(redis, plan, unfit) if everything or plan.of_samples else None
        self._cursor, self._count = b"0", AIM
        self._gone_next = self.is_done = False
        self._began = time.monotonic()
        self.compared = 0
        """Keys that were compared."""

    @property
    def seconds(self) -> float:
        """Since its begin."""
        return time.monotonic() - self._began

    def page(self) -> list[bytes]:
        """Some more keys that are not as they were last synced; often none."""
        if self._gone_next:
            return self._vanished()
        if self._all is None:
            return self._different()
        found = self._all.next()
        self._gone_next, self.compared = self._all.is_done, self._all.copied
        return found

    def _different(self) -> list[bytes]:
        args = [self._cursor, self._plan.pattern, self._count, self._plan.type]
        _, self._cursor, seen, *found = self._call("syncd_differs", args)
        self._gone_next = self._cursor == b"0"
        self.compared += seen
        self._count = max(LEAST, min(MOST, self._count * 2 if seen < AIM // 2 else self._count * AIM // seen))
        return found

    def _vanished(self) -> list[bytes]:
        _, self._cursor, _, *found = self._call("syncd_vanished", [self._cursor, GONE])
        self.is_done = self._cursor == b"0"
        return found

    def _call(self, name: str, args: list[Any]) -> list[Any]:
        return self._redis.call(name, [self._synced], args)
