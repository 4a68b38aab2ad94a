"""The lane of a contract from MongoDB to Redis: started again after every error, from the position in Redis."""

from __future__ import annotations

import contextlib
from typing import Any

from syncd import telemetry
from syncd.errors import (
    CollectionGoneError,
    EventTooLargeError,
    PositionLostError,
    StoreError,
    SweepLimitError,
    SyncdError,
)
from syncd.executors.pool import Pool
from syncd.inbound.hub import StreamHub
from syncd.inbound.run import LaneRun
from syncd.inbound.status import LaneStatus
from syncd.lanes.lane import PAUSED_LOOK_S, BaseLane
from syncd.plan.claims import claims_of
from syncd.plan.compile import Plan
from syncd.plan.partition import WHOLE, Partition
from syncd.settings import Settings
from syncd.stores.capabilities import Capabilities, require
from syncd.stores.collections import require_source
from syncd.stores.leases import Leases
from syncd.stores.lost_letters import restore_letters
from syncd.stores.mongo import MongoStore
from syncd.stores.position import DIGEST, KEEP, PAUSE, PURGE, SWEEP, ControlKeys, allowed, load_position
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard, snapshot_begins, wants_snapshot

MAX_FRUITLESS = 3
"""Lost positions in a row without any progress, after which the lane stops loudly."""


class Lane(BaseLane):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    plan: Plan
    status: LaneStatus

    def __init__(
        self,
        plan: Plan,
        mongo: MongoStore,
        redis: RedisStore,
        leases: Leases,
        settings: Settings,
        hub: StreamHub,
        requests: RequestBoard,
        pool: Pool | None = None,
        *,
        is_split: bool = True,
    ) -> None:
        """`hub`, `requests` and `pool` are shared by all lanes of a daemon. `is_split`: whether a partition is all it
        does."""
        control = ControlKeys(plan.name, Partition(*settings.partition_numbers) if is_split else WHOLE)
        super().__init__(str(control), mongo, redis, settings, requests)
        self.plan, self._control, self._hub, self._pool = plan, control, hub, pool
        self.status = LaneStatus(
            plan.name, plan.contract.shown_collection, plan.freshness_s, control.partition
        )
        self._lease = leases.of(control, claims_of(plan))
        self._fruitless = 0
        self._held_back = ""
        """Why no key may be removed until somebody says so; the lane waits for that."""
        self._run: LaneRun | None = None
        self._is_thin = self._thin = False
        """Whether this run takes no fields of documents, and whether the next shall."""
        telemetry.contract_known(plan.name, plan.freshness_s, control.partition.count)

    def stop(self) -> None:
        """Ask the lane to finish its batch and commit; `join` waits for it."""
        super().stop()
        if (run := self._run) is not None:
            run.wake()

    def _leave(self) -> None:
        self._lease.release()

    def _attempt(self) -> float:
        try:
            return super()._attempt()
        finally:
            # A copy that has to begin again has not got anywhere, however far it came.
            if self._run is not None and self._run.was_live:
                self._fruitless = 0

    def _work(self) -> float:
        self._is_thin, self._thin = self._thin, False
        self._mongo.connect()
        self._watch_oplog()
        require_source(self._mongo, self.plan.namespace, self.plan.contract.mongo.unique)
        server = self._redis.connect()
        require(self.plan.contract, server)
        before = self._lease.acquire()
        if before != self._control.partition.count:
            telemetry.layout_changed(self.plan.name, before, self._control.partition.count)
        if restored := restore_letters(self._redis, self._control):
            telemetry.letters_restored(self.plan.name, restored)
        if self._is_paused():
            return PAUSED_LOOK_S
        common = (
            self.plan, self._mongo, self._redis, self._lease, self._settings, self.status, self._halt, self._hub,
            self._requests, self._control, self._pool,
        )  # fmt: skip
        self._run = self._make_run(server, common)
        self._run.run()
        return 0.0

    def _make_run(self, server: Capabilities, common: tuple[Any, ...]) -> LaneRun:
        return LaneRun(*common, thin=self._is_thin)

    def _failed(self, error: SyncdError) -> float:
        if isinstance(error, EventTooLargeError):
            return self._too_large(error)
        if isinstance(error, PositionLostError):
            return self._lost(error)
        if isinstance(error, SweepLimitError):
            return self._hold_back(error)
        return super()._failed(error)

    def _hold_back(self, error: SweepLimitError) -> float:
        """Wait for a person: what would be removed may be there by a mistake of the contract's."""
        self._held_back = str(error)
        telemetry.sweep_held_back(self.plan.name, self._held_back)
        self.status.enter("paused", error=self._held_back)
        return PAUSED_LOOK_S

    def _watch_oplog(self) -> None:
        """The oplog moves on under a lane that cannot work, and a person must hear of it in time."""
        if (window := self._mongo.oplog_window()) is not None:
            self.status.oplog(*window)

    def _is_paused(self) -> bool:
        """Whether to wait for a person. Also begins the snapshot that somebody asked for."""
        name = self.plan.name
        if then := wants_snapshot(self._redis, self._control):
            self._lease.forget_position(self._allowed(then))
            snapshot_begins(self._redis, self._control)
            self._held_back = ""
            return False
        if self._held_back:
            self.status.enter("paused", error=self._held_back)
            return True
        if load_position(self._redis, self._control).next != PAUSE:
            return False
        self.status.enter(
            "paused", error=f"the collection is gone; `syncd snapshot {name}` copies what is there now"
        )
        return True

    def _allowed(self, then: str) -> str:
        return then if then == SWEEP else allowed(then, self.plan.fingerprint)

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        super()._interrupted(why, state, message, delay)
        with contextlib.suppress(
            StoreError
        ):  # started while MongoDB was away: how long it has been, Redis knows
            if not self.status.is_known:
                self.status.known(load_position(self._redis, self._control))
        return delay

    def _too_large(self, error: EventTooLargeError) -> float:
        """Take the stream without the fields of documents, once; where that does not help, the position is lost."""
        if self._is_thin:
            return self._lost(error)
        self._thin = True
        return self._interrupted("transient", "waiting", str(error), 0.0)

    def _lost(self, error: StoreError) -> float:
        sync = self.plan.contract.sync
        if isinstance(error, CollectionGoneError):
            then = {"purge": self._allowed(PURGE), "keep": KEEP, "pause": PAUSE}[sync.on_drop]
            return self._forget(error, then, "resnapshot" if sync.on_drop != "pause" else "paused")
        self._fruitless += 1
        if sync.on_unresumable_position == "fail" or self._fruitless > MAX_FRUITLESS:
            remedy = f"`syncd snapshot {self.plan.name}` copies everything anew"
            if self.status.state != "failed":
                telemetry.position_lost(self.plan.name, str(error), "stopped")
            self.status.enter("failed", error=f"{error}; {remedy}")
            return PAUSED_LOOK_S
        # Whether digests can tell what differs is seen when the next run begins.
        return self._forget(error, SWEEP if self.plan.source is None else DIGEST, "resnapshot")

    def _forget(self, error: StoreError, then: str, action: str) -> float:
        telemetry.position_lost(self.plan.name, str(error), action)
        self.status.enter("waiting", error=str(error))
        try:
            self._lease.forget_position(then)
        except StoreError as second:
            return self._interrupted("transient", "waiting", str(second), 1.0)
        return 0.0
