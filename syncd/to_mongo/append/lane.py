"""The lane of a contract that appends: started again after every error.

Daemons share the consumer group, and a document that two of them write is written once; only into a time series one
daemon writes, which holds the lease, and the others stand by.
"""

from __future__ import annotations

import contextlib

from syncd import telemetry
from syncd.contract.model.contract import Contract
from syncd.errors import StoreError
from syncd.lanes.context import Common, LaneContext
from syncd.lanes.events import Ended, Started
from syncd.lanes.lane import BaseLane
from syncd.lanes.situation import Decision, LaneRules
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.redis.capabilities import require
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_mongo.append.group import Group
from syncd.to_mongo.append.run import AppendRun
from syncd.to_mongo.append.status import AppendStatus


class AppendLane(BaseLane):
    """Runs one plan until `stop`. `status` and `state` may be read from any thread."""

    plan: AppendPlan
    status: AppendStatus

    def __init__(self, plan: AppendPlan, common: Common) -> None:
        status = AppendStatus(plan.name, plan.contract.shown_collection, plan.freshness_s)
        rules = LaneRules(plan.name, common.settings.lease_ttl)
        super().__init__(common, ControlKeys(plan.name, place=common.redis.place), plan, status, rules)
        self._group = Group(common.redis, plan, common.leases.owner)
        self._context = LaneContext(
            plan, self._control, status, self._state, self._lease, self._halt, common.mongo, common.redis,
            common.settings, common.requests,
        )  # fmt: skip
        telemetry.contract_known(plan.name, plan.freshness_s, store="mongo")

    def _work(self) -> Decision:
        self._mongo.connect()
        require(self.plan.contract, self._redis.connect())
        run = AppendRun(self._context, self._group)
        self._state.tell(Started())
        run.run()
        return self._state.tell(Ended())

    def reword(self, contract: Contract) -> None:
        """Without a lease the file is kept beside the group."""
        super().reword(contract)
        with contextlib.suppress(StoreError):  # the next run keeps it
            self._group.reword(contract)

    def _leave(self) -> None:
        if self._lease.value:
            self._lease.release()
        self._group.leave()

    def _show_waiting(self) -> None:
        super()._show_waiting()
        self.status.counted(self._group.backlog(), self.status.dead_letters)
