"""What a lane hears of changed keys. It outlives runs, so that an outage of MongoDB makes no gap."""

from __future__ import annotations

import time
from collections.abc import Collection

from syncd.errors import TransientError
from syncd.plan.to_mongo.gone import CERTAIN, Gone
from syncd.plan.to_mongo.state import StatePlan
from syncd.plan.types import TYPES
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.group import Backlog
from syncd.to_mongo.keyspace import notifications
from syncd.to_mongo.keyspace.subscribers import Subscribers
from syncd.to_mongo.state.keys.changed_keys import ChangedKeys

DOWN_S = 5.0
"""A subscription that is away for longer ends the run, so that people see it."""
SUBSCRIBED_S = 10.0
"""How long a run waits for its subscription."""
WORD_S = 2.0
"""So long a key that is not there waits for the event that says why: it is on its way, as a rule."""
WORD_AGAIN_S = WORD_S / 10
"""So often it is read meanwhile."""
CHECK_OPTION_S = 2.0
"""How often Redis is asked whether it still sends events. While it does not, no change gets through; asking is one
CONFIG GET."""
MOST_TAKEN = 2000
"""Changed keys that are taken at once. They are read in smaller parts, behind which the application waits."""
MOST_MUTE = 5
"""So often the lease may be renewed, once a second, without an event that says so."""


class Listening:
    """Of one contract. Called by the lane's thread; the subscriber's thread only notes keys."""

    def __init__(self, redis: RedisStore, plan: StatePlan, most_keys: int) -> None:
        self._redis, self._plan = redis, plan
        self.changed = ChangedKeys(most_keys)
        self._subscribers: Subscribers | None = None
        self._has_moved = False
        """Whether that has changed since the last comparison began."""
        self._generation = 0
        """Of the last subscription that is known."""
        self._owed = ""
        """Why all keys have to be compared, until that is done."""
        self._repeat = self._was_off = False
        self._behind = 0.0
        """Since when; 0 where nothing is owed."""
        self._up = self._touched = self._checked_at = 0.0
        self._mute = 0
        self.detail = ""
        """What is known of the last gap."""

    def begin(self, redis: RedisStore) -> None:
        """Listen to this Redis, from now on at the latest. Raises CapabilityError, StoreError."""
        self._redis = redis
        self._ensure_option()
        if self._subscribers is not None and not self._subscribers.are_at(redis):
            self._move()
        elif self._subscribers is not None and not self._subscribers.is_alive():
            self.stop()
        if self._subscribers is None:
            keys = ControlKeys(self._plan.name)
            self._subscribers = Subscribers(redis, keys, self._plan.pattern, self.changed.note)
            self._generation = 0
            self._subscribers.start()
        self._subscribers.wait_up(SUBSCRIBED_S)
        if any(notifications.is_hidden(node) for node in redis.nodes):
            self._subscribers.probe(TYPES[self._plan.contract.redis[0].type].sample)
        self._up = self._touched = time.monotonic()
        self._repeat, self._mute = True, 0

    def _ensure_option(self) -> None:
        for node in self._redis.nodes:
            self._was_off |= notifications.ensure(node, self._plan.name)

    def _move(self) -> None:
        """Keys have other nodes now, or had. What was heard of them is forgotten, for some went because they moved."""
        since = min(self._up, time.monotonic() - self.changed.oldest())
        self.stop(but=CERTAIN)
        self._has_moved, self._behind = True, self._behind or since

    def gap(self) -> str:
        """Why all keys have to be compared, once for each reason; once more what a run before has not finished."""
        since = time.monotonic() - self.changed.oldest() if self.changed.has_collapsed else self._up
        why = self._new_gap() or (self._owed if self._repeat else "")
        self._repeat = False
        if why:
            self._owed, self._behind = why, self._behind or since
        return why

    def _new_gap(self) -> str:
        assert self._subscribers is not None
        before, self._generation = self._generation, self._subscribers.generation
        if count := self.changed.collapsed():
            self.detail = f"{count} changed keys are more than SYNCD_DIRTY_KEYS"
            return "overflow"
        if not before:
            why = "slots" if self._has_moved else "start"
            self._was_off, self._has_moved, self.detail = False, False, ""
            return why
        if self._was_off:
            self._was_off, self.detail = False, f"{notifications.OPTION} was not as it must be"
            return "setting"
        if before != self._generation:
            self.detail = str(self._subscribers.error or "")
            return "subscription"
        return ""

    def caught_up(self) -> None:
        """All keys were compared."""
        self._owed, self._behind = "", 0.0

    def hurry(self) -> None:
        """Hear soon of all that happened before now."""
        if self._subscribers is not None:
            self._subscribers.hurry()

    def has_heard(self, moment: float) -> bool:
        """Whether all that changed before a monotonic time was noted, and nothing is owed."""
        subscriber = self._subscribers
        if subscriber is None or self._owed or self._was_off or self.changed.has_collapsed:
            return False
        return subscriber.generation == self._generation and subscriber.heard_up_to > moment

    def check(self) -> None:
        """Once a second, in which the lease was renewed: whether events still arrive. Raises TransientError."""
        self._check_subscription()
        if (now := time.monotonic()) - self._checked_at >= CHECK_OPTION_S:
            self._checked_at = now
            self._ensure_option()

    def _check_subscription(self) -> None:
        subscriber, now = self._subscribers, time.monotonic()
        if subscriber is None:
            return
        if subscriber.is_up:
            self._up = now
        elif now - self._up > DOWN_S or not subscriber.is_alive():
            raise subscriber.error or TransientError("redis", "no subscription to keyspace events")
        self._mute = self._mute + 1 if subscriber.event < self._touched else 0
        self._touched = now
        if self._mute > MOST_MUTE:
            self._mute = 0
            subscriber.restart(TransientError("redis", "no keyspace events arrive, not even of the lease"))

    def backlog(self) -> Backlog:
        """Changed keys that wait, and since when the oldest, or all of them, may be behind."""
        behind = time.monotonic() - self._behind if self._behind else 0.0
        return Backlog(len(self.changed), max(self.changed.oldest(), behind), "")

    def stop(self, *, but: Collection[Gone] = ()) -> None:
        """Hear nothing more, and forget what was heard; `but`: see ChangedKeys.clear."""
        if self._subscribers is not None:
            self._subscribers.stop()
        self._subscribers = None
        self.changed.clear(but=but)
