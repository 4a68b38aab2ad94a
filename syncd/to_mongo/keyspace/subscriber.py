"""Listens to what Redis says of changed keys, on a connection of its own, until it is stopped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as driver
from redis.client import PubSub

from syncd.errors import FatalError, StoreError, TransientError
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translate
from syncd.to_mongo.keyspace.notifications import HEARD_S, scratch, unheard

PING_S = 1.0
SILENT_S = 3.0
"""A subscription that answers no PING for so long is dead, even if the socket seems to live."""
POLL_S = 0.25
RETRY_S = (0.05, 0.2, 0.5, 1.0)

_FIELD_EXPIRED = b"hexpired"

Note = Callable[[bytes, bytes], None]


class Subscriber(threading.Thread):
    """Calls `note(key, event)` for every event of keys that match `pattern`.

    Events between two subscriptions are lost: `generation` counts subscriptions, and a caller that finds it changed has
    to compare all keys.
    """

    def __init__(self, store: RedisStore, keys: ControlKeys, pattern: str, note: Note) -> None:
        super().__init__(name=f"events-{keys}", daemon=True)
        self._store, self._keys, self._note = store, keys, note
        self._prefix = channel_prefix(store)
        self._pattern = self._prefix + pattern
        self._own = [self._prefix + keys.lease, self._prefix + keys.probe]
        self._halt, self._again, self._up = threading.Event(), threading.Event(), threading.Event()
        self._probed: set[bytes] = set()
        self._expired_field = b""
        """The channel of the last message, where that was of fields that expired."""
        self.generation = 0
        self.error: StoreError | None = None
        """Why the last subscription ended, or why there is none."""
        self.event = time.monotonic()
        """When the last event came, of any key."""
        self.heard_up_to = 0.0
        """All events of before this monotonic time have been noted, but for those that a gap has swallowed."""
        self._hurry = False
        self._pings: deque[float] = deque()

    @property
    def is_up(self) -> bool:
        """Whether events arrive, as far as known."""
        return self._up.is_set()

    def wait_up(self, timeout: float) -> int:
        """The present generation. Raises StoreError where there is no subscription in time, or never will be."""
        end = time.monotonic() + timeout
        while not self._up.wait(POLL_S):
            if isinstance(self.error, FatalError) or time.monotonic() > end:
                raise self.error or TransientError(
                    "redis", "no subscription to keyspace events; trying again"
                )
        return self.generation

    def hurry(self) -> None:
        """Move `heard_up_to` beyond the present soon."""
        self._hurry = True

    def restart(self, why: StoreError) -> None:
        """Give up this subscription for a new one."""
        self.error = why
        self._up.clear()
        self._again.set()

    def stop(self) -> None:
        """Ask the thread to end; `join` waits for it."""
        self._halt.set()
        self._again.set()

    def probe(self, sample: Sequence[str]) -> None:
        """Whether events of a type arrive, by a scratch key (see DataType). Raises CapabilityError."""
        self._probed = set()
        wanted = scratch(self._store, self._keys.probe, sample)
        end = time.monotonic() + HEARD_S
        while missing := wanted - self._probed:
            if time.monotonic() > end:
                raise unheard(missing)
            time.sleep(0.01)

    def run(self) -> None:
        """Subscribe, and again after every error, until stopped."""
        failures = 0
        while not self._halt.is_set():
            before = self.generation
            try:
                self._again.clear()
                with self._store.client.pubsub() as subscription:
                    self._listen(subscription)
            except driver.RedisError as error:
                self.error = self._refused(error) or translate(error)
            except OSError as error:
                self.error = TransientError("redis", f"no connection to Redis: {error}")
            self._up.clear()
            failures = failures + 1 if self.generation == before else 0
            self._halt.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])

    def _refused(self, error: driver.RedisError) -> FatalError | None:
        """Channels have rights of their own, and a pattern has to be among them word for word."""
        if not isinstance(error, driver.NoPermissionError):
            return None
        what = f"Redis refuses us events of changed keys: {error}"
        rights = (
            f"&{self._pattern} &{self._prefix}{'{*}' * bool(self._store.place)}syncd:* +psubscribe +subscribe"
        )
        return FatalError("redis", f"{what}; grant {rights}, the first word for word")

    def _listen(self, subscription: PubSub) -> None:
        subscription.psubscribe(self._pattern)
        subscription.subscribe(*self._own)
        confirmed, heard, asked = 0, time.monotonic(), 0.0
        self._pings.clear()
        while not self._again.is_set():
            said: Any = subscription.get_message(timeout=POLL_S)
            now = time.monotonic()
            if said is not None:
                heard = now
                confirmed += self._take(said, now)
                if confirmed == 1 + len(self._own) and not self.is_up:
                    self._begin(now)
                elif confirmed > 1 + len(self._own):
                    raise driver.ConnectionError("the driver subscribed again by itself")
            elif now - heard > SILENT_S:
                raise driver.TimeoutError(f"a subscription has answered nothing for {SILENT_S:g} s")
            if self._hurry or now - asked > PING_S:
                self._hurry, asked = False, time.monotonic()
                self._pings.append(asked)
                subscription.ping()

    def _begin(self, now: float) -> None:
        self.event = now
        self.generation += 1
        self._up.set()

    def _take(self, said: dict[str, Any], now: float) -> int:
        """One message; 1 for a confirmation."""
        kind = said["type"]
        before, self._expired_field = self._expired_field, b""
        if kind == "pmessage":
            self.event = now
            self._pass_on(said["channel"], said["data"], before)
        elif kind == "message":
            self.event = now
            if said["channel"].endswith(b":probe"):
                self._probed.add(said["data"])
        elif kind == "pong":  # Redis answers behind all events that it sent before
            self.heard_up_to = self._pings.popleft()
        return kind in ("psubscribe", "subscribe")

    def _pass_on(self, channel: bytes, event: bytes, expired_field: bytes) -> None:
        """A hash whose last field expires goes with `hexpired` and, right behind it, `del`: an expiry, no deletion. The
        answer to a PING separates a `del` that comes later from that."""
        if event == _FIELD_EXPIRED:
            self._expired_field, self._hurry = channel, True
        elif event == b"del" and channel == expired_field:
            event = b"expired"
        self._note(channel[len(self._prefix) :], event)


def channel_prefix(store: RedisStore) -> str:
    """What stands before the key in a channel's name: it carries the number of the database."""
    number = store.client.connection_pool.connection_kwargs.get("db") or 0
    return f"__keyspace@{number}__:"
