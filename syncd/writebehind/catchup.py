"""Compares all keys with what was last synced: after a gap in the events nobody knows what they would have said."""

from __future__ import annotations

from typing import Any

from syncd.plan.state import StatePlan
from syncd.stores.lease import newer_protocol
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore, translated

AIM = 100
"""Keys of the pattern that one call should compare: it blocks Redis for a millisecond or two."""
LEAST, MOST = 50, 5000
"""Keys that one call looks at; most of them may be somebody else's."""
GONE = 1000
"""Keys that one call asks for, whether they are there."""


class CatchUp:
    """One comparison, page by page: keys that are there first, then those that have gone. `everything`: all keys that
    are there, whether they differ or not."""

    def __init__(self, store: RedisStore, plan: StatePlan, *, everything: bool) -> None:
        self._store, self._plan, self._synced = store, plan, ControlKeys(plan.name).synced
        self._everything = everything
        self._cursor, self._count = b"0", AIM
        self._gone_next = self.is_done = False
        self.compared = 0
        """Keys of the pattern that were looked at."""

    def page(self) -> list[bytes]:
        """Some more keys that are not as they were last synced; often none."""
        if self._gone_next:
            return self._vanished()
        found = self._all() if self._everything else self._different()
        if self._cursor == b"0":
            self._gone_next = True
        return found

    def _different(self) -> list[bytes]:
        _, self._cursor, seen, *found = self._call(
            "syncd_differs", [self._cursor, self._plan.pattern, self._count, self._plan.type]
        )
        self._saw(int(seen))
        return found

    def _all(self) -> list[bytes]:
        with translated():
            self._cursor, found = self._store.client.execute_command(
                "SCAN", self._cursor, "MATCH", self._plan.pattern, "COUNT", self._count
            )
            # The driver has made a number of it.
            self._cursor = str(int(self._cursor)).encode()
        self._saw(len(found))
        return list(found)

    def _vanished(self) -> list[bytes]:
        _, self._cursor, _, *found = self._call("syncd_vanished", [self._cursor, GONE])
        self.is_done = self._cursor == b"0"
        return found

    def _call(self, name: str, args: list[Any]) -> list[Any]:
        reply: list[Any] = self._store.call(name, [self._synced], args)
        if reply[0] == b"version":
            raise newer_protocol(reply)
        return reply

    def _saw(self, seen: int) -> None:
        self.compared += seen
        self._count = max(LEAST, min(MOST, self._count * 2 if seen < AIM // 2 else self._count * AIM // seen))
