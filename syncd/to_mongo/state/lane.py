"""The lane of a contract whose keys go to MongoDB. One daemon has the lease and works; the others stand by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from syncd import telemetry
from syncd.lanes.context import Common, LaneContext
from syncd.lanes.events import Ended, Started
from syncd.lanes.lane import BaseLane
from syncd.lanes.situation import Decision, LaneRules
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.capabilities import Capabilities, require
from syncd.stores.redis.records.lost.dead_letters import restore_dead_letters
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_mongo.append.group import Backlog
from syncd.to_mongo.outbox.run import OutboxRun
from syncd.to_mongo.outbox.status import OutboxStatus, read_backlog
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys
from syncd.to_mongo.state.run import StateRun
from syncd.to_mongo.state.run_numbers import Numbers


class StateLane(BaseLane):
    """Runs one plan until `stop`. `status` and `state` may be read from any thread."""

    plan: StatePlan
    status: OutboxStatus
    status_type: type[OutboxStatus] = OutboxStatus

    def __init__(self, plan: StatePlan, common: Common) -> None:
        unfit = UnfitKeys(common.redis, plan)
        status = self.status_type(plan.name, plan.contract.shown_collection, plan.freshness_s, unfit)
        rules = LaneRules(plan.name, common.settings.lease_ttl)
        # Also of a daemon that splits contracts, in every partition: one daemon of all has the lease.
        super().__init__(common, ControlKeys(plan.name, place=common.redis.place), plan, status, rules)
        self._numbers = Numbers(self._lease)
        self._context: LaneContext[StatePlan, Any] = LaneContext(
            plan, self._control, status, self._state, self._lease, self._halt, common.mongo, common.redis,
            common.settings, common.requests,
        )  # fmt: skip
        telemetry.contract_known(plan.name, plan.freshness_s, store="mongo")

    def _work(self) -> Decision:
        self._mongo.connect()
        server = self._redis.connect()
        require(self.plan.contract, server)
        self._lease.acquire()
        store = self._lease.store
        if restored := restore_dead_letters(store, self._control):
            telemetry.dead_letters_restored(self.plan.name, restored)
        run = self._make_run(replace(self._context, redis=store), self._numbers.next(), server)
        self._state.tell(Started())
        run.run()
        return self._state.tell(Ended())

    def _make_run(self, context: LaneContext[StatePlan, Any], number: int, server: Capabilities) -> StateRun:
        return OutboxRun(context, number)

    def _leave(self) -> None:
        self._lease.release()

    def _learn_number(self, seen: int) -> None:
        self._numbers.learn(seen)

    def _show_waiting(self) -> None:
        self.status.counted(self._backlog(), self.status.dead_letters)
        super()._show_waiting()

    def _backlog(self) -> Backlog:
        return read_backlog(self._redis, self._control.outbox, self.status.done)
