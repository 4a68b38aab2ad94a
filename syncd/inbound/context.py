"""What a lane that reads a change stream works with."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.executors.pool import Pool
from syncd.inbound.hub import StreamHub
from syncd.inbound.status import LaneStatus
from syncd.lanes.context import LaneContext
from syncd.plan.compile import Plan


@dataclass(frozen=True)
class StreamContext(LaneContext[Plan, LaneStatus]):
    """Of one lane; its runs share it."""

    hub: StreamHub
    pool: Pool | None
    """Workers for copies, if there are any."""
