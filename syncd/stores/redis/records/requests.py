"""What people ask of a lane through Redis: the daemon that has the lane finds it there."""

from __future__ import annotations

import threading
import time
from typing import Any

from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.position import ADOPT, PURGE, SWEEP, ControlKeys
from syncd.stores.redis.store import RedisStore, translated

SNAPSHOT_REQUESTS = {ADOPT: b"snapshot adopt", PURGE: b"snapshot purge", SWEEP: b"snapshot"}
"""By what the sweep behind it may do, the most first."""
POSITION_REQUEST = b"position"
HEARD_REQUEST = b"heard"
EVERY_S = 1.0
"""How often Redis is asked whether there are requests."""


class RequestBoard:
    """Of which lanes of a daemon something is asked: one read for all of them. Thread-safe."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._lanes: set[ControlKeys] = set()
        self._asked: set[ControlKeys] = set()
        self._read_at = -EVERY_S

    def has_any(self, lane: ControlKeys) -> bool:
        """Whether this lane should read its requests, replays and repairs."""
        with self._lock:
            new = lane not in self._lanes
            if new or time.monotonic() - self._read_at >= EVERY_S:
                self._lanes.add(lane)
                self._read()
                self._read_at = time.monotonic()
            return lane in self._asked

    def forget(self, contract: str) -> None:
        """The contract is gone."""
        with self._lock:
            self._lanes = {lane for lane in self._lanes if lane.contract != contract}

    def _read(self) -> None:
        keys = {lane: [lane.requests, lane.replay, lane.repair, lane.short] for lane in self._lanes}
        with translated():
            # Nearly always nothing is there, and one number says so.
            if not self._store.client.exists(*(key for some in keys.values() for key in some)):
                self._asked = set()
                return
            self._asked = {lane for lane, some in keys.items() if self._store.client.exists(*some)}


def request_snapshot(store: RedisStore, contract: str, then: str = SWEEP) -> None:
    """Ask for all documents to be copied again, by every partition. `then`: a word of SNAPSHOT_REQUESTS."""
    for keys in partitions_of(store, contract):
        with translated():
            store.client.rpush(keys.requests, SNAPSHOT_REQUESTS[then])


def wants_snapshot(store: RedisStore, keys: ControlKeys) -> str:
    """What the sweep may do behind a snapshot that was asked for and has not begun; "" where there is none."""
    with translated():
        waiting: Any = store.client.lrange(keys.requests, 0, -1)
    return next((then for then, asked in SNAPSHOT_REQUESTS.items() if asked in waiting), "")


def any_wants_snapshot(store: RedisStore, contract: str) -> bool:
    """Whether a partition of the contract has not begun yet."""
    return any(bool(wants_snapshot(store, keys)) for keys in partitions_of(store, contract))


def snapshot_begins(store: RedisStore, keys: ControlKeys, then: str = PURGE) -> None:
    """Remove the requests that this snapshot answers. One that adopts keys leaves a request to remove any number."""
    with translated():
        for word, asked in SNAPSHOT_REQUESTS.items():
            if word != PURGE or then == PURGE:
                store.client.lrem(keys.requests, 0, asked)  # type: ignore[arg-type]


def request_position(store: RedisStore, keys: ControlKeys) -> None:
    """Ask a lane to store how far it is, now."""
    with translated():
        store.client.rpush(keys.requests, POSITION_REQUEST)


def answers_position(store: RedisStore, keys: ControlKeys) -> bool:
    """Whether that was asked for; takes the requests off the list."""
    with translated():
        return bool(store.client.lrem(keys.requests, 0, POSITION_REQUEST))  # type: ignore[arg-type]


def request_heard(store: RedisStore, keys: ControlKeys) -> None:
    """Ask a lane that listens to say up to when all that happened in Redis is done."""
    with translated():
        store.client.rpush(keys.requests, HEARD_REQUEST)


def answers_heard(store: RedisStore, keys: ControlKeys) -> bool:
    """Whether that was asked for; takes the requests off the list."""
    with translated():
        return bool(store.client.lrem(keys.requests, 0, HEARD_REQUEST))  # type: ignore[arg-type]
