"""What a lane that reads a change stream works with."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.executors.pool import Pool
from syncd.lanes.context import LaneContext
from syncd.plan.to_redis.compile import Plan
from syncd.to_redis.status import LaneStatus
from syncd.to_redis.stream.hub import StreamHub


@dataclass(frozen=True)
class StreamContext(LaneContext[Plan, LaneStatus]):
    """Of one lane; its runs share it."""

    hub: StreamHub
    pool: Pool | None
    """Workers for copies, if there are any."""
