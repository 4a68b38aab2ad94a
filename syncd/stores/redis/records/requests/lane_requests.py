"""What people ask of a lane through Redis: the daemon that has the lane finds it there."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.position import ADOPT, PURGE, SWEEP, ControlKeys
from syncd.stores.redis.records.requests.pauses import records_of
from syncd.stores.redis.store import RedisStore, translated

SNAPSHOT_REQUESTS = {ADOPT: b"snapshot adopt", PURGE: b"snapshot purge", SWEEP: b"snapshot"}
"""By what the sweep behind it may do, the most first."""
POSITION_REQUEST = b"position"
HEARD_REQUEST = b"heard"
T = TypeVar("T")
EVERY_S = 1.0
"""How often Redis is asked whether there are requests."""


class RequestBoard:
    """Of which lanes of a daemon something is asked: one read for all of them. Thread-safe."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._lanes: set[ControlKeys] = set()
        self._asked: set[ControlKeys] = set()
        self._paused: set[str] = set()
        self._read_at = -EVERY_S

    def has_any(self, lane: ControlKeys) -> bool:
        """Whether this lane should read its requests, replays and repairs."""
        with self._lock:
            self._bring_up_to_date(lane)
            return lane in self._asked

    def is_paused(self, lane: ControlKeys) -> bool:
        """Whether a person has paused its contract."""
        with self._lock:
            self._bring_up_to_date(lane)
            return lane.contract in self._paused

    def _bring_up_to_date(self, lane: ControlKeys) -> None:
        if time.monotonic() - self._read_at >= EVERY_S:
            self._lanes.add(lane)
            self._asked, self._paused = self._read(self._lanes)
            self._read_at = time.monotonic()
        elif lane not in self._lanes:  # hundreds may begin within a second
            asked, paused = self._read({lane})
            self._lanes.add(lane)  # not before: where Redis did not answer, nothing is known of it
            self._asked, self._paused = self._asked | asked, self._paused | paused

    def forget(self, contract: str) -> None:
        """The contract is gone."""
        with self._lock:
            self._lanes = {lane for lane in self._lanes if lane.contract != contract}

    def _read(self, lanes: set[ControlKeys]) -> tuple[set[ControlKeys], set[str]]:
        """Of these lanes, of which something is asked, and whose contract is paused."""
        asked = {lane: [lane.requests, lane.replay, lane.repair, lane.short, lane.partial] for lane in lanes}
        paused = {lane.contract: records_of(self._store, lane.contract) for lane in lanes}
        # Nearly always nothing is there, and two numbers say so.
        counts = self._count([[key for some in keys.values() for key in some] for keys in (asked, paused)])
        return self._there(asked) if counts[0] else set(), self._there(paused) if counts[1] else set()

    def _there(self, keys: Mapping[T, list[str]]) -> set[T]:
        counts = self._count([*keys.values()])
        return {one for one, count in zip(keys, counts, strict=True) if count}

    def _count(self, keys: Sequence[list[str]]) -> list[int]:
        """How many of each list there are."""
        with translated(), self._store.client.pipeline(transaction=False) as pipe:
            for some in keys:
                pipe.exists(*some)
            counts: list[int] = pipe.execute()
        return counts


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
