"""Up to which moment all that Redis reported is done: only the lane knows, and a check has to."""

from __future__ import annotations

import time

from syncd.stores.redis.records.position import ControlKeys, Fields
from syncd.stores.redis.records.requests.lane_requests import RequestBoard, answers_heard
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.keyspace.listening import Listening
from syncd.to_mongo.state.memory import Memory

EVERY_S, SOON_S = 1.0, 0.1
"""How often a lane reads whether a check asks; and how often while one goes on, which asks again and again."""
GOES_ON_S = 5.0


class Passing:
    """Of one lane that listens, called by the thread that takes what was heard."""

    def __init__(
        self,
        redis: RedisStore,
        control: ControlKeys,
        requests: RequestBoard,
        listening: Listening,
        memory: Memory,
    ) -> None:
        self._redis, self._control, self._requests = redis, control, requests
        self._listening, self._memory = listening, memory
        self._moment = 0
        """Microseconds of Redis's clock that a check asked for; 0: none did."""
        self._asked = self._heard = self._checked_at = 0.0

    @property
    def is_asked(self) -> bool:
        """Whether a check goes on."""
        return self._asked > 0 and time.monotonic() - self._asked < GOES_ON_S

    def begin(self) -> None:
        """An answer of before may be by the clock of another Redis, whose place this one took."""
        self._memory.note({}, {Fields.HEARD: "0"})

    def check_requests(self) -> None:
        """Read what is asked for, at most once per interval."""
        now = time.monotonic()
        if now - self._checked_at < (SOON_S if self.is_asked else EVERY_S):
            return
        self._checked_at = now
        if not self.is_asked and not self._requests.has_any(self._control):
            return
        if answers_heard(self._redis, self._control):
            moment = min(node.clock_us() for node in self._redis.nodes)
            self._moment, self._asked, self._heard = moment, time.monotonic(), 0.0
            self._listening.hurry()

    def answer(self) -> None:
        """Between two batches, while nothing is under way and no keys are being compared."""
        if not self._moment or not self._listening.has_heard(self._asked):
            return
        now, changed = time.monotonic(), self._listening.changed
        self._heard = self._heard or now
        # What was noted by then may have changed before; what came later was not asked for.
        if len(changed) and changed.oldest() >= now - self._heard:
            return
        self._memory.note({}, {Fields.HEARD: str(self._moment)})
        self._moment = 0
