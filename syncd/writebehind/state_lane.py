"""The lane of a contract whose keys go to MongoDB. One daemon has the lease and works; the others stand by."""

from __future__ import annotations

import contextlib

from syncd import telemetry
from syncd.errors import LaterNumberError, StoreError, SyncdError
from syncd.lanes.lane import BaseLane, Run
from syncd.plan.claims import claims_of
from syncd.plan.state import StatePlan
from syncd.settings import Settings
from syncd.stores.capabilities import Capabilities, require
from syncd.stores.leases import Leases
from syncd.stores.lost_letters import restore_letters
from syncd.stores.mongo import MongoStore
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard
from syncd.writebehind.numbers import Numbers
from syncd.writebehind.outbox import OutboxRun
from syncd.writebehind.outbox_status import OutboxStatus, look
from syncd.writebehind.state_run import Means
from syncd.writebehind.unfit import Unfit


class StateLane(BaseLane):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    plan: StatePlan
    status: OutboxStatus

    def __init__(
        self,
        plan: StatePlan,
        mongo: MongoStore,
        redis: RedisStore,
        leases: Leases,
        settings: Settings,
        requests: RequestBoard,
    ) -> None:
        super().__init__(plan.name, mongo, redis, settings, requests)
        self.plan = plan
        self.status = OutboxStatus(
            plan.name, plan.contract.shown_collection, plan.freshness_s, Unfit(redis, plan)
        )
        # Of a daemon that splits contracts, whatever its partition: one of all has the lease.
        self._control = ControlKeys(plan.name)
        self._lease = leases.of(self._control, claims_of(plan))
        self._numbers = Numbers(redis, self._control, self._lease)
        telemetry.contract_known(plan.name, plan.freshness_s, store="mongo")

    def _work(self) -> float:
        self._mongo.connect()
        server = self._redis.connect()
        require(self.plan.contract, server)
        self._lease.acquire()
        if restored := restore_letters(self._redis, self._control):
            telemetry.letters_restored(self.plan.name, restored)
        self._run = self._make_run(self._numbers.next(), server)
        self._run.run()
        return 0.0

    def _make_run(self, number: int, server: Capabilities) -> Run:
        return OutboxRun(self._means(number), self.status)

    def _means(self, number: int) -> Means:
        stores = self._mongo, self._redis, self._lease
        return Means(self.plan, *stores, self._settings, self._requests, self._halt, number)

    def _leave(self) -> None:
        self._lease.release()

    def _failed(self, error: SyncdError) -> float:
        if isinstance(error, LaterNumberError):
            self._numbers.learn(error)
        return super()._failed(error)

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        super()._interrupted(why, state, message, delay)
        with contextlib.suppress(StoreError):  # what waits grows meanwhile, and people must see it
            self._look()
        return delay

    def _look(self) -> None:
        backlog = look(self._redis, self._control.outbox, self.status.done)
        self.status.looked(backlog, self.status.dead_letters)
