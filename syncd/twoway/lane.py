"""The lane of a contract that goes both ways. One daemon has the lease and works; the others stand by."""

from __future__ import annotations

import contextlib
from typing import Any

from syncd import telemetry
from syncd.errors import FencedError, LaterNumberError, StoreError, SyncdError
from syncd.inbound.hub import StreamHub
from syncd.inbound.lane import Lane
from syncd.inbound.run import LaneRun
from syncd.plan.twoway import TwoWayPlan
from syncd.settings import Settings
from syncd.stores.capabilities import Capabilities
from syncd.stores.collections import require_target
from syncd.stores.leases import Leases
from syncd.stores.mongo import MongoStore
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard
from syncd.twoway.capture import Capture, KeyspaceCapture, OutboxCapture
from syncd.twoway.run import TwoWayRun
from syncd.twoway.status import TwoWayStatus
from syncd.twoway.store import TwoWayStore
from syncd.writebehind.listening import Listening
from syncd.writebehind.memory import Memory
from syncd.writebehind.numbers import Numbers
from syncd.writebehind.outbox_status import look
from syncd.writebehind.passing import Passing
from syncd.writebehind.unfit import Unfit


class TwoWayLane(Lane):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    plan: TwoWayPlan
    status: TwoWayStatus

    def __init__(
        self,
        plan: TwoWayPlan,
        mongo: MongoStore,
        redis: RedisStore,
        leases: Leases,
        settings: Settings,
        hub: StreamHub,
        requests: RequestBoard,
    ) -> None:
        super().__init__(plan, mongo, redis, leases, settings, hub, requests, is_split=False)
        self.status = TwoWayStatus(
            plan.name, plan.contract.shown_collection, plan.freshness_s, Unfit(redis, plan.state)
        )
        self._listening: Listening | None = None
        if plan.contract.sync.capture == "keyspace":
            self._listening = Listening(redis, plan.state, settings.dirty_keys)
        self._numbers = Numbers(redis, self._control, self._lease)
        telemetry.contract_known(plan.name, plan.freshness_s, store="both")

    def _make_run(self, server: Capabilities, common: tuple[Any, ...]) -> LaneRun:
        require_target(self._mongo, self.plan.namespace)

        def make_capture(store: TwoWayStore) -> Capture:
            if self._listening is None:
                return OutboxCapture(self._redis, self.plan, store)
            memory = Memory(self._redis, self.plan.state, self._lease)
            passing = Passing(self._redis, self._control, self._requests, self._listening, memory)
            return KeyspaceCapture(
                self._redis, self.plan, self._listening, passing, server.maxmemory_policy, self.status.unfit
            )

        return TwoWayRun(*common, thin=self._is_thin, number=self._numbers.next(), make_capture=make_capture)

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        super()._interrupted(why, state, message, delay)
        with contextlib.suppress(StoreError):  # what waits grows meanwhile, and people must see it
            store = TwoWayStore(self._redis, self.plan, self._lease, self._settings.batch_writes)
            listens, outbox = self._listening, self._control.outbox
            backlog = listens.backlog() if listens is not None else look(self._redis, outbox, "")
            self.status.looked(backlog, *store.count_marks())
        return delay

    def _failed(self, error: SyncdError) -> float:
        if isinstance(error, LaterNumberError):
            self._numbers.learn(error)
        return super()._failed(error)

    def _fenced(self, error: FencedError) -> float:
        # The other one listens, and compares everything first.
        if (error.holder or self._run is None) and self._listening is not None:
            self._listening.stop()
        return super()._fenced(error)

    def _leave(self) -> None:
        if self._listening is not None:
            self._listening.stop()
        super()._leave()
