"""Statements that change nothing: their number is what counts, for a server refuses smaller ones from then on."""

from __future__ import annotations

import time
from typing import Any

from bson.min_key import MinKey

from syncd.stores.mongo.sharding import ids_of_shards
from syncd.stores.mongo.store import MongoStore

CHECK_S = 15.0
"""How often syncd asks which shards a collection has; it may get another one at any time."""


class Fences:
    """Of the collection of one contract. Each shard knows only the numbers of the writes that it took itself."""

    def __init__(self, mongo: MongoStore, namespace: tuple[str, str]) -> None:
        self._mongo, self._namespace = mongo, namespace
        self._known: set[str] = set()
        self._checked = 0.0

    def all(self) -> list[dict[str, Any]]:
        """For every shard, or for the one server."""
        self._known.clear()
        return self._missing()

    def due(self) -> list[dict[str, Any]]:
        """For shards that have got a part of the collection since."""
        is_due = self._mongo.is_sharded and time.monotonic() - self._checked > CHECK_S
        return self._missing() if is_due else []

    def _missing(self) -> list[dict[str, Any]]:
        self._checked = time.monotonic()
        found = ids_of_shards(self._mongo, self._namespace)
        missing = [document_id for shard, document_id in found.items() if shard not in self._known]
        self._known = set(found)
        return [
            {"q": {"_id": {"$eq": one}, "_syncd": MinKey()}, "u": {"$set": {"_syncd": None}}}
            for one in missing
        ]
