"""A run of a contract from MongoDB to Redis."""

from __future__ import annotations

from typing import Any

from tests.simulation.checker import Checker
from tests.simulation.contracts import OF_JOINS, OF_MEMBERS, OF_SHARED, plan_of
from tests.simulation.kinds.joins import JoinChecker, JoinTimeline
from tests.simulation.kinds.members import MemberChecker, MemberTimeline
from tests.simulation.kinds.shared import SharedChecker
from tests.simulation.timeline import Timeline
from tests.simulation.world import World


class OneWayWorld(World):
    """Documents that become keys."""

    timeline: Timeline
    checker: Checker

    def _watcher(self) -> Checker:
        if self.kind in OF_MEMBERS or self.kind in OF_SHARED:
            members = self.timeline = MemberTimeline(self.kind)
            checker: Checker = (SharedChecker if self.kind in OF_SHARED else MemberChecker)(members)
        else:
            is_joined = self.kind in OF_JOINS
            self.timeline = JoinTimeline(self.kind) if is_joined else Timeline(self.kind)
            checker = (JoinChecker if is_joined else Checker)(self.timeline)
        self.timeline.deploy(1, "")
        self.mongo.oplog.told.append(self.timeline.add)
        return checker

    def _lane(self, version: int, common: Any, hub: Any) -> Any:
        from syncd.to_redis.lane import Lane

        return Lane(plan_of(self.kind, version), common, hub)
