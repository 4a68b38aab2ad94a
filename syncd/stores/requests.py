"""What people ask of a lane through Redis: the lane's owner, whichever daemon that is, finds it there."""

from __future__ import annotations

import threading
import time
from typing import Any

from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore, translated

SNAPSHOT_REQUEST = b"snapshot"
LOOK_S = 1.0
"""How often Redis is asked whether anybody wants anything."""


class RequestBoard:
    """Of which lanes of a daemon something is asked: one look for all of them. Thread-safe."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._contracts: set[str] = set()
        self._asked: set[str] = set()
        self._looked = -LOOK_S

    def has_any(self, contract: str) -> bool:
        """Whether this lane should look at its requests and replays."""
        with self._lock:
            new = contract not in self._contracts
            if new or time.monotonic() - self._looked >= LOOK_S:
                self._contracts.add(contract)
                self._look()
                self._looked = time.monotonic()
            return contract in self._asked

    def forget(self, contract: str) -> None:
        """The lane is gone."""
        with self._lock:
            self._contracts.discard(contract)

    def _look(self) -> None:
        keys = {name: [ControlKeys(name).requests, ControlKeys(name).replay] for name in self._contracts}
        with translated():
            # Nearly always nothing is there, and one number says so.
            if not self._store.client.exists(*(key for pair in keys.values() for key in pair)):
                self._asked = set()
                return
            self._asked = {name for name, pair in keys.items() if self._store.client.exists(*pair)}


def request_snapshot(store: RedisStore, contract: str) -> None:
    """Ask for all documents to be copied anew."""
    with translated():
        store.client.rpush(ControlKeys(contract).requests, SNAPSHOT_REQUEST)


def wants_snapshot(store: RedisStore, contract: str) -> bool:
    """Whether somebody asked for a snapshot that has not begun."""
    with translated():
        waiting: Any = store.client.lrange(ControlKeys(contract).requests, 0, -1)
    return SNAPSHOT_REQUEST in waiting


def snapshot_begins(store: RedisStore, contract: str) -> None:
    """Answer all requests for a snapshot."""
    with translated():
        store.client.lrem(ControlKeys(contract).requests, 0, SNAPSHOT_REQUEST)  # type: ignore[arg-type]
