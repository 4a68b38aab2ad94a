"""The lane of a contract that appends: started again after every error.

Daemons share the consumer group, and a document that two of them write is written once; only into a time series one
daemon writes, which holds the lease, and the others stand by.
"""

from __future__ import annotations

import contextlib

from syncd import telemetry
from syncd.errors import StoreError
from syncd.lanes.lane import BaseLane
from syncd.plan.append import AppendPlan
from syncd.plan.claims import claims_of
from syncd.settings import Settings
from syncd.stores.leases import Leases
from syncd.stores.mongo import MongoStore
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard
from syncd.writebehind.append import AppendRun
from syncd.writebehind.group import Group
from syncd.writebehind.status import AppendStatus


class AppendLane(BaseLane):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    plan: AppendPlan
    status: AppendStatus

    def __init__(
        self,
        plan: AppendPlan,
        mongo: MongoStore,
        redis: RedisStore,
        leases: Leases,
        settings: Settings,
        requests: RequestBoard,
    ) -> None:
        super().__init__(plan.name, mongo, redis, settings, requests)
        self.plan = plan
        self.status = AppendStatus(plan.name, plan.contract.shown_collection, plan.freshness_s)
        self._group = Group(redis, plan, leases.owner)
        self._control = ControlKeys(plan.name)
        self._lease = leases.of(self._control, claims_of(plan))
        telemetry.contract_known(plan.name, plan.freshness_s, store="mongo")

    def _work(self) -> float:
        self._mongo.connect()
        self._redis.connect()
        self._run = AppendRun(
            self.plan,
            self._mongo,
            self._redis,
            self._group,
            self._lease,
            self._settings,
            self.status,
            self._requests,
            self._halt,
        )
        self._run.run()
        return 0.0

    def _leave(self) -> None:
        if self._lease.value:
            self._lease.release()
        self._group.leave()

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        super()._interrupted(why, state, message, delay)
        with contextlib.suppress(StoreError):  # the stream grows meanwhile, and people must see it
            self.status.looked(self._group.backlog(), self.status.dead_letters)
        return delay
