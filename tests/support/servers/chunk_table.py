"""Which shard has what of a collection."""

from __future__ import annotations

from typing import Any

from bson.timestamp import Timestamp
from pymongo import MongoClient

Document = dict[str, Any]


class ChunkTable:
    """Of one collection, at one moment. A shard refuses what is said by an older one."""

    def __init__(self, config: MongoClient[Document], namespace: str) -> None:
        self._config, self._name = config, namespace.partition(".")[0]
        self._said = config["config"]["collections"].find_one({"_id": namespace}) or {}
        self.key: Document = self._said.get("key", {})
        """The shard key; {} where the collection is not sharded."""
        query = {"uuid": self._said.get("uuid")}
        self._chunks = list(config["config"]["chunks"].find(query, batch_size=10_000).sort("min", 1))

    def version(self, shard: str) -> Document:
        """What a router says with a statement, so that the shard knows that the collection is sharded."""
        own = (one["lastmod"] for one in self._chunks if one["shard"] == shard)
        latest = max(own, default=Timestamp(0, 0))
        return {"t": self._said["timestamp"], "e": self._said["lastmodEpoch"], "v": latest}

    def owners(self, documents: list[Document]) -> list[str]:
        """The shard of each of these documents, which have the shard key."""
        if not self.key:
            found = self._config["config"]["databases"].find_one({"_id": self._name})
            assert found is not None
            return [found["primary"]] * len(documents)
        # MongoDB hashes, and compares values of any kinds.
        values = [
            {"$toHashedIndexKey": {"$literal": one[path]}} if way == "hashed" else {"$literal": one[path]}
            for one in documents
            for path, way in self.key.items()
        ]
        width = len(self.key)
        starts = [[{"$literal": one["min"][path]} for path in self.key] for one in self._chunks]
        keys = [values[at : at + width] for at in range(0, len(values), width)]
        counts = [
            {"$size": {"$filter": {"input": starts, "cond": {"$lte": ["$$this", one]}}}} for one in keys
        ]
        reply = self._config.admin.aggregate([{"$documents": [{"found": counts}]}])
        return [self._chunks[one - 1]["shard"] for one in next(reply)["found"]]
