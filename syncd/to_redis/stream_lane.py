"""A lane that reads a change stream: started again after every error, from the position in Redis."""

from __future__ import annotations

from dataclasses import replace

from syncd import telemetry
from syncd.executors.pool import Pool
from syncd.lanes.context import Common
from syncd.lanes.events import Ended, LeaseTaken, Started, Work
from syncd.lanes.lane import BaseLane
from syncd.lanes.situation import Decision, LaneRules
from syncd.plan.partition import WHOLE, Partition
from syncd.plan.stream_plan import StreamPlan
from syncd.settings import Settings
from syncd.stores.mongo.collections import require_source
from syncd.stores.redis.capabilities import Capabilities, require
from syncd.stores.redis.records.lost.dead_letters import restore_dead_letters
from syncd.stores.redis.records.position import PAUSE, PURGE, SWEEP, ControlKeys, allowed
from syncd.stores.redis.records.positions import load_position
from syncd.stores.redis.records.requests.lane_requests import snapshot_begins, wants_snapshot
from syncd.stores.redis.records.requests.partial_copies import forget_partial_copy
from syncd.to_redis.context import StreamContext
from syncd.to_redis.run import LaneRun
from syncd.to_redis.status import LaneStatus
from syncd.to_redis.stream.hub import StreamHub
from syncd.to_redis.target import Target


class StreamLane(BaseLane):
    """Runs one plan until `stop`. `status` and `state` may be read from any thread."""

    plan: StreamPlan
    status: LaneStatus

    def __init__(
        self,
        plan: StreamPlan,
        common: Common,
        hub: StreamHub,
        pool: Pool | None = None,
        partition: Partition = WHOLE,
        status: LaneStatus | None = None,
    ) -> None:
        """`hub` and `pool` are shared by all lanes of a daemon. `partition`: all that this lane does."""
        control = ControlKeys(plan.name, partition, common.redis.place)
        status = status or LaneStatus(plan.name, plan.contract.shown_collection, plan.freshness_s, partition)
        super().__init__(common, control, plan, status, _rules(plan, common.settings))
        self._context = StreamContext(
            plan, control, status, self._state, self._lease, self._halt, common.mongo, common.redis,
            common.settings, common.requests, hub, pool,
        )  # fmt: skip
        self._run: LaneRun | None = None
        store = "both" if plan.contract.is_two_way else "redis"
        telemetry.contract_known(plan.name, plan.freshness_s, partition.count, store=store)

    def stop(self) -> None:
        """Ask the lane to finish its batch and commit; `join` waits for it."""
        super().stop()
        if (run := self._run) is not None:
            run.wake()

    def _leave(self) -> None:
        self._lease.release()

    def _require_collections(self) -> None:
        """Raise CapabilityError where one is of a kind that does not fit."""
        require_source(self._mongo, self.plan.namespace, self.plan.contract.mongo.unique)

    def _work(self) -> Decision:
        self._mongo.connect()
        self._watch_oplog()
        self._require_collections()
        server = self._redis.connect()
        require(self.plan.contract, server)
        before = self._lease.acquire()
        if before != self._control.partition.count:
            telemetry.layout_changed(self.plan.name, before, self._control.partition.count)
        store = self._lease.store
        if restored := restore_dead_letters(store, self._control):
            telemetry.dead_letters_restored(self.plan.name, restored)
        if Work() not in (decision := self._answer()).actions:
            return decision
        self._run = LaneRun(replace(self._context, redis=store), self._make_target(server))
        self._state.tell(Started())
        try:
            self._run.run()
        finally:
            self._run = None
        return self._state.tell(Ended())

    def _make_target(self, server: Capabilities) -> Target:
        """For one run."""
        raise NotImplementedError

    def _after_pause(self) -> str:
        """A position grows old while a contract is paused, and the oplog moves on."""
        self._show_waiting()
        if (window := self._mongo.oplog_window()) is None:
            return ""
        self.status.oplog(*window)
        if not self.status.is_behind(window[0]):
            return ""
        then = (
            "copies everything again"
            if self.plan.contract.sync.on_unresumable_position == "resnapshot"
            else "fails"
        )
        return f"MongoDB's oplog no longer reaches back to its position, so that it {then} then"

    def _watch_oplog(self) -> None:
        """The oplog moves on under a lane that cannot work, and a person must hear of it in time."""
        if (window := self._mongo.oplog_window()) is not None:
            self.status.oplog(*window)

    def _answer(self) -> Decision:
        """Whether the lane has to wait for a person. Also begins the snapshot that one asked for."""
        if then := wants_snapshot(self._redis, self._control):
            if then == PURGE:
                self._lease.allow_removal()
            next = then if then == SWEEP else allowed(then, self.plan.fingerprint)
            self._lease.forget_position(next, resumes=True)
            snapshot_begins(self._redis, self._control, then)
            forget_partial_copy(self._redis, self._control)
            return self._state.tell(LeaseTaken(asked=True))
        return self._state.tell(
            LeaseTaken(is_gone=load_position(self._lease.store, self._control).next == PAUSE)
        )

    def _show_waiting(self) -> None:
        super()._show_waiting()
        if not self.status.is_known:  # started while MongoDB was away: how long it has been, Redis knows
            self.status.known(load_position(self._redis, self._control))


def _rules(plan: StreamPlan, settings: Settings) -> LaneRules:
    sync = plan.contract.sync
    return LaneRules(
        plan.name,
        settings.lease_ttl,
        has_position=True,
        fingerprint=plan.fingerprint,
        on_drop=sync.on_drop,
        on_lost_position=sync.on_unresumable_position,
        by_digests=plan.source is not None,
        merges=plan.contract.is_two_way,
    )
