"""Samples of time series as documents, as a careful engineer writes them: a position a series, pages, and bulk inserts.

    python -m benchmarks.peers.tuned_samples MONGO_URI REDIS_URL DATABASE COLLECTION

It asks every series for what is behind its position, again and again: a sample that comes late, gets another value, or
belongs to another series of that name is not seen.
"""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError
from redis import Redis

from benchmarks.measured.workload import Document

PAGE = 1_000
PAUSE_S = 0.05
SCAN_S = 2.0
"""How often it looks for new series."""
POSITIONS = "positions"
PATTERN = "bench:*"
_DUPLICATE = 11_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TunedSamples:
    """All series of a pattern into one collection."""

    def __init__(self, collection: Collection[Document], redis: Redis) -> None:
        self.collection, self.redis = collection, redis
        self.stopping = False
        self._labels: dict[bytes, dict[bytes, bytes]] = {}
        self._scanned = 0.0

    def stop(self, *_: object) -> None:
        """After the present page."""
        self.stopping = True

    def run(self) -> None:
        """Until it is told to stop."""
        said: Any = self.redis.hgetall(POSITIONS)
        positions = {key: int(moment) for key, moment in said.items()}
        print("ready", flush=True)
        while not self.stopping:
            self._scan()
            if not sum(self._page(key, positions) for key in list(self._labels) if not self.stopping):
                time.sleep(PAUSE_S)

    def _scan(self) -> None:
        if time.monotonic() - self._scanned < SCAN_S:
            return
        self._scanned = time.monotonic()
        for key in self.redis.scan_iter(PATTERN, count=PAGE):
            if key not in self._labels:
                info: Any = self.redis.execute_command("TS.INFO", key)
                self._labels[key] = dict(dict(zip(info[::2], info[1::2], strict=True))[b"labels"])

    def _page(self, key: bytes, positions: dict[bytes, int]) -> int:
        first = positions.get(key, -1) + 1
        found: Any = self.redis.execute_command("TS.RANGE", key, first, "+", "COUNT", PAGE)
        if not found:
            return 0
        name, labels = key.decode(), self._labels[key]
        documents = [
            {
                "_id": f"{name}:{moment}", "sensor": name.rpartition(":")[2], "celsius": float(value),
                "at": _EPOCH + timedelta(milliseconds=moment), "site": labels[b"site"].decode(),
            }
            for moment, value in found
        ]  # fmt: skip
        try:
            self.collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:  # those of before a kill
            if any(one["code"] != _DUPLICATE for one in error.details["writeErrors"]):
                raise
        positions[key] = found[-1][0]
        self.redis.hset(POSITIONS, key, found[-1][0])
        return len(found)


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Connect, and follow until SIGTERM."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    redis = Redis.from_url(redis_url, protocol=2)
    samples = TunedSamples(client[database][collection], redis)
    signal.signal(signal.SIGTERM, samples.stop)
    samples.run()


if __name__ == "__main__":
    main(*sys.argv[1:5])
