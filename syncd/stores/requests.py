"""What people ask of a lane through Redis: the lane's owner, whichever daemon that is, finds it there."""

from __future__ import annotations

from typing import Any

from syncd.stores.layout import partitions_of
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore, translated

SNAPSHOT_REQUEST = b"snapshot"


def request_snapshot(store: RedisStore, contract: str) -> None:
    """Ask for all documents to be copied anew, by every partition."""
    for keys in partitions_of(store, contract):
        with translated():
            store.client.rpush(keys.requests, SNAPSHOT_REQUEST)


def wants_snapshot(store: RedisStore, keys: ControlKeys) -> bool:
    """Whether somebody asked for a snapshot that has not begun."""
    with translated():
        waiting: Any = store.client.lrange(keys.requests, 0, -1)
    return SNAPSHOT_REQUEST in waiting


def snapshot_begins(store: RedisStore, keys: ControlKeys) -> None:
    """Answer all requests for a snapshot."""
    with translated():
        store.client.lrem(keys.requests, 0, SNAPSHOT_REQUEST)  # type: ignore[arg-type]
