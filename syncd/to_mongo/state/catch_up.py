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
    """One comparison, page by page and node by node. `everything`: all keys that are there, whether they differ or
    not."""

    def __init__(self, redis: RedisStore, plan: StatePlan, unfit: UnfitKeys, *, everything: bool) -> None:
        self.everything = everything
        unfit.forget()
        self._nodes = [NodeCatchUp(node, plan, unfit, everything=everything) for node in redis.nodes]
        self._at, self._began = 0, time.monotonic()

    @property
    def is_done(self) -> bool:
        """Whether there are no more keys."""
        return self._nodes[-1].is_done

    @property
    def compared(self) -> int:
        """Keys that were compared."""
        return sum(node.compared for node in self._nodes)

    @property
    def seconds(self) -> float:
        """Since its begin."""
        return time.monotonic() - self._began

    def page(self) -> list[bytes]:
        """Some more keys that are not as they were last synced; often none."""
        self._at += self._nodes[self._at].is_done and not self.is_done
        return self._nodes[self._at].page()


class NodeCatchUp:
    """The same of one node: keys that are there first, then those that have gone."""

    def __init__(self, node: RedisStore, plan: StatePlan, unfit: UnfitKeys, *, everything: bool) -> None:
        self._node, self._plan = node, plan
        self._synced = ControlKeys(plan.name, place=node.place).synced
        self._all = KeyCopy(node, plan, unfit) if everything or plan.of_samples else None
        self._cursor, self._count = b"0", AIM
        self._gone_next = self.is_done = False
        self.compared = 0
        """Keys that were compared."""

    def page(self) -> list[bytes]:
        """See CatchUp."""
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
        return self._node.call(name, [self._synced], args)
