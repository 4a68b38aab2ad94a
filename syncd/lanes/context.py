"""What a lane works with, as one value: passed to the lane, and by the lane to each of its runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Generic, TypeVar

from syncd.lanes.state import LaneState
from syncd.lanes.status import BaseStatus
from syncd.plan.base import ContractPlan
from syncd.settings import Settings
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.leases import Leases
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.lane_requests import RequestBoard
from syncd.stores.redis.store import RedisStore

PlanT_co = TypeVar("PlanT_co", bound=ContractPlan, covariant=True)
StatusT_co = TypeVar("StatusT_co", bound=BaseStatus, covariant=True)


@dataclass(frozen=True)
class Common:
    """What all lanes of a daemon share."""

    mongo: MongoStore
    redis: RedisStore
    leases: Leases
    settings: Settings
    requests: RequestBoard


@dataclass(frozen=True)
class LaneContext(Generic[PlanT_co, StatusT_co]):
    """Of one lane; its runs share it."""

    plan: PlanT_co
    control: ControlKeys
    status: StatusT_co
    """Records what happens; decides nothing."""
    state: LaneState
    lease: Lease
    halt: threading.Event
    """Set when the lane is to stop."""
    mongo: MongoStore
    redis: RedisStore
    settings: Settings
    requests: RequestBoard

    @property
    def is_over(self) -> bool:
        """Whether the run under way is to end: the lane is to stop, or begin another run, or a person has paused it."""
        return self.halt.is_set() or self.state.is_over or self.requests.is_paused(self.control)
