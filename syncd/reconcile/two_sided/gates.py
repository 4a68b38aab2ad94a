"""How far lanes that take changes from Redis have come: what a check has to wait for."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

from syncd.plan.base import ContractPlan
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.reconcile.lanes import ASK_AGAIN_S, POLL_S, Lanes
from syncd.reconcile.two_sided.sides import Point
from syncd.stores.redis.records.position import ControlKeys, Fields, read_fields
from syncd.stores.redis.records.requests.lane_requests import request_heard, wants_snapshot
from syncd.stores.redis.store import RedisStore, translated


class Gate(Protocol):
    """One contract's lane; the check may be in any process."""

    def unready(self) -> str:
        """The reason the contract cannot be compared yet, or an empty string."""

    def passed(self, point: Point, *, is_done: bool) -> bool:
        """Wait until all up to this point is done. `is_done`: the lane is known to have written all keys in question.
        False: not in time, or the check is to stop."""


class StateGate:
    """Of a lane from Redis to MongoDB."""

    def __init__(self, redis: RedisStore, plan: StatePlan, stop: threading.Event, wait_s: float) -> None:
        self._redis, self._plan, self._keys = redis, plan, ControlKeys(plan.name, place=redis.place)
        self._passing = _Passing(redis, plan, stop, wait_s)

    def unready(self) -> str:
        """See Gate."""
        with translated():
            said: Any = self._redis.client.hget(self._keys.position, Fields.FINGERPRINT)
        if said is None:
            return f"no lane of {self._plan.name} has run yet; start `syncd run`"
        if wants_snapshot(self._redis, self._keys):
            return f"the lane of {self._plan.name} writes all keys at present"
        if said.decode() != self._plan.fingerprint:
            what = f"the lane of {self._plan.name} writes all keys at present, or works by another version"
            return f"{what} of the contract; let it come to its end"
        return ""

    def passed(self, point: Point, *, is_done: bool) -> bool:
        """See Gate."""
        return (is_done or self._passing.wait(point)) and not self.unready()


class PairGate:
    """Of a lane that goes both ways. What the stream has brought waits as a merge request of its key, and the
    comparison reads those."""

    def __init__(self, redis: RedisStore, plan: TwoWayPlan, stop: threading.Event, wait_s: float) -> None:
        self._lanes = Lanes(redis, plan, stop, wait_s)
        self._passing = _Passing(redis, plan, stop, wait_s)

    def unready(self) -> str:
        """See Gate."""
        return self._lanes.unready()

    def passed(self, point: Point, *, is_done: bool) -> bool:
        """See Gate."""
        return self._lanes.passed(point.mongo) and (is_done or self._passing.wait(point))


class _Passing:
    """Waits until the lane has passed changes in Redis."""

    def __init__(self, redis: RedisStore, plan: ContractPlan, stop: threading.Event, wait_s: float) -> None:
        self._redis, self._keys = redis, ControlKeys(plan.name, place=redis.place)
        self._stop, self._wait_s = stop, wait_s
        self._listens = plan.contract.sync.capture == "keyspace"

    def wait(self, point: Point) -> bool:
        """Whether the lane passed the point in time."""
        end, asked = time.monotonic() + self._wait_s, 0.0
        while not self._stop.is_set():
            if self._heard(point.redis) if self._listens else self._taken(point.entry):
                return True
            now = time.monotonic()
            if now > end:
                return False
            if self._listens and now > asked + ASK_AGAIN_S:
                asked = now
                request_heard(self._redis, self._keys)
            self._stop.wait(POLL_S)
        return False

    def _taken(self, entry: tuple[int, int]) -> bool:
        """Entries that are done are removed from an outbox."""
        with translated():
            first: Any = self._redis.client.xrange(self._keys.outbox, count=1)
        if not first:
            return True
        milliseconds, _, number = first[0][0].partition(b"-")
        return (int(milliseconds), int(number)) > entry

    def _heard(self, moment: int) -> bool:
        (said,) = read_fields(self._redis, self._keys, Fields.HEARD)
        return bool(said) and int(said) >= moment
