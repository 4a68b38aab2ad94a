"""What a lane that reads a change stream works with."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.executors.pool import Pool
from syncd.lanes.context import LaneContext
from syncd.plan.stream_plan import StreamPlan
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.builder import Builder
from syncd.to_redis.apply.calls.operations import Operations
from syncd.to_redis.apply.units import Unit
from syncd.to_redis.apply.watermarks import Watermarks
from syncd.to_redis.copy.foreign_keys import ForeignKeys
from syncd.to_redis.indexes.indexes import Indexes
from syncd.to_redis.status import LaneStatus
from syncd.to_redis.stream.hub import StreamHub


@dataclass(frozen=True)
class StreamContext(LaneContext[StreamPlan, LaneStatus]):
    """Of one lane; its runs share it."""

    hub: StreamHub
    pool: Pool | None
    """Workers for copies, if there are any."""


@dataclass(frozen=True)
class RunContext:
    """Of one run; its parts share it."""

    lane: StreamContext
    log: ApplyLog[Unit, Operations]
    lookup: Lookup
    builder: Builder
    indexes: Indexes
    foreign_keys: ForeignKeys

    @property
    def watermarks(self) -> Watermarks:
        """What may be done with a change."""
        return self.log.watermarks
