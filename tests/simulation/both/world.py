"""A run of a contract that goes both ways."""

from __future__ import annotations

from typing import Any

from syncd.stores.redis.functions import library_source
from syncd.to_mongo.outbox.functions import source as outbox_source
from tests.simulation.both.checker import BothChecker
from tests.simulation.both.contracts import KINDS, plan_of
from tests.simulation.world import World


class BothWorld(World):
    """Keys and documents that applications write, each on its own side."""

    checker: BothChecker
    rest_s = 5.0

    def _watcher(self) -> BothChecker:
        self.redis.load(library_source().encode())
        self.redis.load(outbox_source().encode())
        checker = BothChecker(KINDS[self.kind], self.mongo, self.note)
        self.mongo.oplog.told.append(checker.committed)
        self.mongo.writes.taken, self.mongo.writes.acknowledged = checker.taken, checker.acknowledged
        self._tick()
        return checker

    def _tick(self) -> None:
        """A primary notes something every ten seconds, whatever else happens."""
        self.mongo.oplog.note("noop", "", None, None, None)
        self.mongo.oplog.commit()
        self.loop.after(10.0, self._tick)

    def _lane(self, version: int, common: Any, hub: Any) -> Any:
        from syncd.both.lane import TwoWayLane

        return TwoWayLane(plan_of(self.kind), common, hub)
