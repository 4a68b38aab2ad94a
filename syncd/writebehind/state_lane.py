"""The lane of a contract whose keys go to MongoDB. One daemon has the lease and works; the others stand by."""

from __future__ import annotations

import contextlib

from syncd import telemetry
from syncd.errors import FencedError, StoreError
from syncd.lanes.lane import BaseLane, Run
from syncd.plan.claims import claims_of
from syncd.plan.state import StatePlan
from syncd.settings import Settings
from syncd.stores.capabilities import Capabilities, require
from syncd.stores.lease import Lease
from syncd.stores.mongo import MongoStore
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore, translated
from syncd.stores.requests import RequestBoard
from syncd.writebehind.outbox import OutboxRun
from syncd.writebehind.outbox_status import OutboxStatus, look
from syncd.writebehind.state_run import Means

FIRST_LEAD_US = 1_000_000


class StateLane(BaseLane):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    plan: StatePlan
    status: OutboxStatus

    def __init__(
        self,
        plan: StatePlan,
        mongo: MongoStore,
        redis: RedisStore,
        owner: str,
        settings: Settings,
        requests: RequestBoard,
    ) -> None:
        super().__init__(plan.name, mongo, redis, settings, requests)
        self.plan = plan
        self.status = OutboxStatus(plan.name, plan.contract.shown_collection, plan.freshness_s)
        # Of a daemon that splits contracts, whatever its partition: one of all has the lease.
        self._control = ControlKeys(plan.name)
        self._lease = Lease(redis, self._control, owner, settings.lease_ttl, claims_of(plan))
        self._lead_us = 0
        telemetry.contract_known(plan.name, plan.freshness_s, store="mongo")

    def _work(self) -> float:
        self._mongo.connect()
        server = self._redis.connect()
        require(self.plan.contract, server)
        self._lease.acquire()
        with translated():
            seconds, micros = self._redis.client.time()
        # Above all numbers of the daemons before: each began with this time, and counts its commands from there.
        self._run = self._make_run(seconds * 1_000_000 + micros + self._lead_us, server)
        self._run.run()
        return 0.0

    def _make_run(self, number: int, server: Capabilities) -> Run:
        return OutboxRun(self._means(number), self.status)

    def _means(self, number: int) -> Means:
        stores = self._mongo, self._redis, self._lease
        return Means(self.plan, *stores, self._settings, self._requests, self._halt, number)

    def _leave(self) -> None:
        self._lease.release()

    def _fenced(self, error: FencedError) -> float:
        if not error.holder and self._run is not None:
            # MongoDB may have seen a greater number: of a Redis whose clock was ahead, if the lease is ours again.
            self._lead_us = max(FIRST_LEAD_US, 4 * self._lead_us)
        return super()._fenced(error)

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        super()._interrupted(why, state, message, delay)
        with contextlib.suppress(StoreError):  # what waits grows meanwhile, and people must see it
            self._look()
        return delay

    def _look(self) -> None:
        backlog = look(self._redis, self._control.outbox, self.status.done)
        self.status.looked(backlog, self.status.dead_letters)
