"""Shards without writes, which hold the changes of others back.

A stream over all shards delivers a change when each has said that it has none before it, and one without writes says
so every ten seconds. A read of the present moment makes it write a note into its oplog, and say so at once. Each note
has a time of its own, so that some shard is always behind another: notes go on as long as a stream is open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient

from syncd.stores.mongo.times import Moment, timestamp

NOTE_S = 1.0
"""How often shards are asked for that at most, for all streams together."""


class IdleShards:
    """Of one cluster. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def note(self, client: MongoClient[Any], database: str, collection: str | int, at: Moment) -> None:
        """Have all shards come to this moment, unless that was asked for just now. Raises PyMongoError."""
        with self._lock:
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + NOTE_S
        ask_every_shard(client, database, collection, {"afterClusterTime": timestamp(at)})


def ask_every_shard(
    client: MongoClient[Any], database: str, collection: str | int, concern: Mapping[str, Any]
) -> None:
    """Whatever opens a stream asks every shard, and needs no right that the stream itself does not need."""
    of_all = {"allChangesForCluster": True} if database == "admin" else {}
    reply = client[database].command(
        {
            "aggregate": collection,
            "pipeline": [{"$changeStream": of_all}],
            "cursor": {"batchSize": 0},
            "readConcern": {"level": "majority", **concern},
        }
    )
    of = "$cmd.aggregate" if collection == 1 else collection
    client[database].command({"killCursors": of, "cursors": [reply["cursor"]["id"]]})
