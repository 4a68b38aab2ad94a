"""The lane of a contract from MongoDB to Redis."""

from __future__ import annotations

from syncd.plan.to_redis.compile import Plan
from syncd.stores.redis.capabilities import Capabilities
from syncd.to_redis.stream_lane import StreamLane
from syncd.to_redis.target import KeyTarget


class Lane(StreamLane):
    """Runs one plan until `stop`."""

    plan: Plan

    def _make_target(self, server: Capabilities) -> KeyTarget:
        return KeyTarget(self.plan)
