"""A lane: the ordered stream of work for one contract, in a thread of its own, started again after every error.

Lanes share nothing but connections, so a slow or broken one does not stop the others.
"""

from __future__ import annotations

import contextlib
import gc
import threading

from redis.backoff import ExponentialWithJitterBackoff

from syncd import telemetry
from syncd.errors import (
    CollectionGoneError,
    EventTooLargeError,
    FencedError,
    PositionLostError,
    StoreError,
    SyncdError,
    TransientError,
)
from syncd.inbound.hub import StreamHub
from syncd.inbound.index import require_capabilities
from syncd.inbound.run import LaneRun
from syncd.inbound.status import LaneStatus
from syncd.plan.compile import Plan
from syncd.plan.partition import Partition
from syncd.settings import Settings
from syncd.stores.lease import Lease
from syncd.stores.mongo import MongoStore
from syncd.stores.position import KEEP, PAUSE, SWEEP, ControlKeys, Position, load_position
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard, snapshot_begins, wants_snapshot

FATAL_RETRY_S = 30.0
"""Even what only a person can mend is tried again: then nobody has to restart the daemon after mending it."""
PAUSED_LOOK_S = 2.0
"""How often a lane that waits for a person looks whether somebody came."""
MAX_FRUITLESS = 3
"""Lost positions in a row without any progress, after which the lane stops loudly."""


class Lane(threading.Thread):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    def __init__(
        self,
        plan: Plan,
        mongo: MongoStore,
        redis: RedisStore,
        owner: str,
        settings: Settings,
        hub: StreamHub,
        requests: RequestBoard,
    ) -> None:
        """`hub` and `requests` are shared by all lanes of a daemon."""
        control = ControlKeys(plan.name, Partition(*settings.partition_numbers))
        super().__init__(name=f"lane-{control}", daemon=True)
        self.plan, self._control = plan, control
        self._mongo, self._redis, self._settings = mongo, redis, settings
        self._hub, self._requests = hub, requests
        slo = plan.contract.slo
        freshness_s = slo.freshness / 1000 if slo else None
        self.status = LaneStatus(plan.name, plan.contract.mongo.collection, freshness_s, control.partition)
        self._lease = Lease(redis, control, owner, settings.lease_ttl)
        self._halt = threading.Event()
        self._backoff = ExponentialWithJitterBackoff(cap=10.0, base=0.2)
        self._failures = 0
        self._fruitless = 0
        self._run: LaneRun | None = None
        self._thin = False
        telemetry.contract_known(plan.name, freshness_s, control.partition.count)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called, so that its thread may have ended."""
        return self._halt.is_set()

    def stop(self) -> None:
        """Ask the lane to finish its batch and commit; `join` waits for it."""
        self._halt.set()
        if (run := self._run) is not None:
            run.wake()

    def run(self) -> None:
        """Run, and run again after every error, until stopped."""
        while not self._halt.is_set():
            delay = self._attempt()
            self._run = None
            gc.collect()  # a run points at itself in circles, and may hold thousands of documents
            self._halt.wait(delay)
        with contextlib.suppress(StoreError):  # a lease that cannot be given back runs out by itself
            self._lease.release()
        self.status.enter("stopped")

    def _attempt(self) -> float:
        """One run. Returns the seconds to wait before the next."""
        self._run = None
        thin, self._thin = self._thin, False
        try:
            self._mongo.connect()
            self._watch_oplog()
            require_capabilities(self.plan, self._redis.connect())
            before = self._lease.acquire()
            if before != self._control.partition.count:
                telemetry.layout_changed(self.plan.name, before, self._control.partition.count)
            if self._is_paused():
                return PAUSED_LOOK_S
            self._run = LaneRun(
                self.plan,
                self._mongo,
                self._redis,
                self._lease,
                self._settings,
                self.status,
                self._halt,
                self._hub,
                self._requests,
                self._control,
                thin=thin,
            )
            self._run.run()
            return 0.0
        except FencedError as error:
            return self._fenced(error)
        except EventTooLargeError as error:
            return self._too_large(error, thin)
        except PositionLostError as error:
            return self._lost(error)
        except TransientError as error:
            self._failures = 1 if self._progressed else self._failures + 1
            return self._interrupted(
                "transient", "waiting", str(error), self._backoff.compute(self._failures)
            )
        except SyncdError as error:
            return self._interrupted("fatal", "failed", str(error), FATAL_RETRY_S)
        except Exception as error:  # noqa: BLE001 - one lane's bug must not end the daemon, nor go unseen
            telemetry.lane_bug(self.plan.name)
            return self._interrupted("bug", "failed", f"unexpected {type(error).__name__}", FATAL_RETRY_S)
        finally:
            # A copy that has to begin again has not got anywhere, however far it came.
            if self._run is not None and self._run.was_live:
                self._fruitless = 0

    def _watch_oplog(self) -> None:
        """The oplog moves on under a lane that cannot work, and a person must hear of it in time."""
        if (window := self._mongo.oplog_window()) is not None:
            self.status.oplog(*window)

    @property
    def _progressed(self) -> bool:
        return self._run is not None and self._run.progressed

    def _is_paused(self) -> bool:
        """Whether to wait for a person. Also begins the snapshot that somebody asked for."""
        name = self.plan.name
        if wants_snapshot(self._redis, self._control):
            self._lease.forget_position(SWEEP)
            snapshot_begins(self._redis, self._control)
            return False
        if load_position(self._redis, self._control).next != PAUSE:
            return False
        self.status.enter(
            "paused", error=f"the collection is gone; `syncd snapshot {name}` copies what is there now"
        )
        return True

    def _too_large(self, error: EventTooLargeError, thin: bool) -> float:
        """Take the stream without the fields of documents, once; where that does not help, the position is lost."""
        if thin:
            return self._lost(error)
        self._thin = True
        return self._interrupted("transient", "waiting", str(error), 0.0)

    def _fenced(self, error: FencedError) -> float:
        """Stand by for another daemon. Where there is none nobody serves the readers: not ready, and again at once."""
        if self._run is not None or not error.holder:
            telemetry.lane_fenced(self.plan.name, str(error))
        self.status.enter("standby" if error.holder else "waiting", error=str(error))
        if error.holder:
            self.status.confirmed(Position())  # the other daemon moves it, and ours says nothing any more
            return self._settings.lease_ttl / 4
        self._failures = 1 if self._progressed else self._failures + 1
        return self._backoff.compute(self._failures) if self._failures > 1 else 0.0

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        # The same trouble again and again needs one line, not one a retry.
        if message != self.status.error:
            telemetry.lane_interrupted(self.plan.name, why, message, delay)
        self.status.enter(state, error=message)
        return delay

    def _lost(self, error: StoreError) -> float:
        sync = self.plan.contract.sync
        if isinstance(error, CollectionGoneError):
            then = {"purge": SWEEP, "keep": KEEP, "pause": PAUSE}[sync.on_drop]
            return self._forget(error, then, "resnapshot" if sync.on_drop != "pause" else "paused")
        self._fruitless += 1
        if sync.on_unresumable_position == "fail" or self._fruitless > MAX_FRUITLESS:
            remedy = f"`syncd snapshot {self.plan.name}` copies everything anew"
            if self.status.state != "failed":
                telemetry.position_lost(self.plan.name, str(error), "stopped")
            self.status.enter("failed", error=f"{error}; {remedy}")
            return PAUSED_LOOK_S
        return self._forget(error, SWEEP, "resnapshot")

    def _forget(self, error: StoreError, then: str, action: str) -> float:
        telemetry.position_lost(self.plan.name, str(error), action)
        self.status.enter("waiting", error=str(error))
        try:
            self._lease.forget_position(then)
        except StoreError as second:
            return self._interrupted("transient", "waiting", str(second), 1.0)
        return 0.0
