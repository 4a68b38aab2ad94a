"""How far the lanes of a contract have come, by their positions in Redis: what a check has to wait for."""

from __future__ import annotations

import threading
import time

from syncd.plan.stream_plan import StreamPlan
from syncd.stores.mongo.times import LATEST, ZERO, Moment, just_before, token_time
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.position import STREAM, Position
from syncd.stores.redis.records.positions import load_position
from syncd.stores.redis.records.refreshes import JoinedPosition
from syncd.stores.redis.records.requests.lane_requests import request_position
from syncd.stores.redis.store import RedisStore

POLL_S = 0.05
ASK_AGAIN_S = 2.0


class Lanes:
    """All partitions of one contract; a check runs in any process, also in one without lanes."""

    def __init__(self, store: RedisStore, plan: StreamPlan, stop: threading.Event, wait_s: float) -> None:
        self._store, self._plan, self._stop, self._wait_s = store, plan, stop, wait_s

    def unready(self) -> str:
        """The reason the contract cannot be compared yet, or an empty string."""
        for keys in partitions_of(self._store, self._plan.name):
            position = load_position(self._store, keys)
            if position.token is None:
                return f"no lane has copied {keys} yet; start `syncd run`"
            if position.fingerprint != self._plan.fingerprint:
                return f"the lane of {keys} works by another version of the contract; let it take up this one"
            if position.phase != STREAM:
                return (
                    f"the lane copies the documents of {keys} at present; `syncd status` shows how far it is"
                )
        return ""

    def passed(self, moment: Moment) -> bool:
        """Wait until every change up to `moment` has been applied. False: not in time, or the check is to stop."""
        end = time.monotonic() + self._wait_s
        asked = 0.0
        while not self._stop.is_set():
            lanes = partitions_of(self._store, self._plan.name)
            behind = [keys for keys in lanes if self._reached(load_position(self._store, keys)) < moment]
            if not behind:
                return True
            now = time.monotonic()
            if now > end:
                return False
            if now > asked + ASK_AGAIN_S:  # a lane without traffic stores its position once a minute
                asked = now
                for keys in behind:
                    request_position(self._store, keys)
            self._stop.wait(POLL_S)
        return False

    def _reached(self, position: Position) -> Moment:
        """ZERO while a lane copies, for then a key may be missing that the stream has passed; and ZERO for a lane that
        works by another version of the contract, which writes other keys."""
        is_ours = position.fingerprint == self._plan.fingerprint
        if position.token is None or position.phase != STREAM or not is_ours:
            return ZERO
        return min(max(position.time, token_time(position.token)), _shown(position.joined))


def _shown(joined: JoinedPosition) -> Moment:
    """Up to where changes of joined documents show."""
    reached = min(map(token_time, joined.tokens.values()), default=LATEST)
    return reached if joined.since is None else min(reached, just_before(joined.since))
