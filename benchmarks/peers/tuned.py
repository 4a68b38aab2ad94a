"""What a careful engineer writes: a snapshot, batches, pipelines, a position that survives a restart.

    python -m benchmarks.peers.tuned MONGO_URI REDIS_URL DATABASE COLLECTION

Whole documents replace whole hashes (`DEL` + `HSET`), deletes are followed, and the resume token is written
in the same pipeline, after the data. SIGTERM ends it after the batch at hand, with exit code 0.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import FrameType
from typing import Any

from pymongo import MongoClient
from pymongo.change_stream import ChangeStream
from pymongo.collection import Collection
from pymongo.database import Database
from redis import Redis
from redis.client import Pipeline

FIELDS = ("v", "name", "email", "city", "street", "score", "status", "note")
BATCH = 1_000
FLUSH_MS = 10
TOKEN_KEY = "tuned:token"

Document = dict[str, Any]


class Tuned:
    """One collection followed into one Redis."""

    def __init__(self, collection: Collection[Document], redis: Redis) -> None:
        self.collection = collection
        self.watched: Collection[Document] | Database[Document] = collection
        self.redis = redis
        self.stopping = False

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: end after the batch at hand."""
        self.stopping = True

    def run(self) -> None:
        """Snapshot if there is no position, then follow the stream."""
        token = self.load_token()
        with self.watched.watch(
            full_document="updateLookup", resume_after=token, batch_size=BATCH, max_await_time_ms=FLUSH_MS
        ) as stream:
            if token is None:
                start = stream.resume_token
                self.snapshot()
                if self.stopping:
                    return
                self.redis.set(TOKEN_KEY, json.dumps(start))
            print("ready", flush=True)
            self.follow(stream)

    def load_token(self) -> Mapping[str, Any] | None:
        """The stored position, None before the first complete snapshot."""
        stored = self.redis.get(TOKEN_KEY)
        return None if stored is None else json.loads(stored)

    def snapshot(self) -> None:
        """Copy every document as it is now; what changes meanwhile comes again by the stream."""
        documents = iter(self.collection.find(batch_size=BATCH))
        while not self.stopping and (batch := list(islice(documents, BATCH))):
            pipe = self.redis.pipeline(transaction=False)
            for document in batch:
                pipe.hset(f"bench:{document['_id']}", mapping=project(document))
            pipe.execute()

    def follow(self, stream: ChangeStream[Document]) -> None:
        """Apply batches until asked to stop."""
        while not self.stopping:
            batch = list(next_batch(stream))
            if batch:
                self.apply(batch, stream.resume_token)

    def apply(self, batch: Iterable[Document], token: Mapping[str, Any] | None) -> None:
        """Write one batch and then its position, in one round trip."""
        pipe = self.redis.pipeline(transaction=False)
        queue(pipe, batch)
        pipe.set(TOKEN_KEY, json.dumps(token))
        pipe.execute()


def queue(pipe: Pipeline, batch: Iterable[Document]) -> None:
    """What a batch of changes does to the hashes."""
    for change in batch:
        if "documentKey" not in change:
            raise RuntimeError(f"cannot follow {change['operationType']}")
        key = f"bench:{change['documentKey']['_id']}"
        document = change.get("fullDocument")
        pipe.delete(key)
        if document is not None:
            pipe.hset(key, mapping=project(document))


def project(document: Document) -> dict[Any, Any]:
    """The eight fields of the hash."""
    return {name: document[name] for name in FIELDS}


def next_batch(stream: ChangeStream[Document]) -> Iterator[Document]:
    """At most `BATCH` changes, or what came within `FLUSH_MS` of the first."""
    deadline = None
    for _ in range(BATCH):
        change = stream.try_next()
        if change is None:
            return
        yield change
        now = time.monotonic()
        deadline = deadline or now + FLUSH_MS / 1_000
        if now >= deadline:
            return


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Connect, and follow until SIGTERM."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    tuned = Tuned(client[database][collection], Redis.from_url(redis_url))
    signal.signal(signal.SIGTERM, tuned.stop)
    tuned.run()


if __name__ == "__main__":
    main(*sys.argv[1:5])
