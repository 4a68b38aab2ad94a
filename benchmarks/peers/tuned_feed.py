"""A change feed as a careful engineer writes it: batches, a pipeline, the position in the same step as the entries.

    python -m benchmarks.peers.tuned_feed MONGO_URI REDIS_URL DATABASE COLLECTION

Entries get their ids from Redis (`*`). SIGTERM ends it after the batch at hand, with exit code 0.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pymongo import MongoClient
from redis import Redis

from benchmarks.peers.tuned import TOKEN_KEY, Document, Tuned, project

STREAM = "bench:changes"


class TunedFeed(Tuned):
    """One collection followed into one stream."""

    def snapshot(self) -> None:
        """A feed begins with the next change."""

    def apply(self, batch: Iterable[Document], token: Mapping[str, Any] | None) -> None:
        """Write the entries of one batch and then its position, in one transaction."""
        with self.redis.pipeline(transaction=True) as pipe:
            for change in batch:
                entry = {"op": change["operationType"], "_id": str(change["documentKey"]["_id"])}
                if (description := change.get("updateDescription")) is not None:
                    entry["changed"] = json.dumps(
                        [*description["updatedFields"], *description["removedFields"]]
                    )
                if (document := change.get("fullDocument")) is not None:
                    entry |= project(document)
                pipe.xadd(STREAM, entry)  # type: ignore[arg-type]
            pipe.set(TOKEN_KEY, json.dumps(token))
            pipe.execute()


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Connect, and follow until SIGTERM."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    feed = TunedFeed(client[database][collection], Redis.from_url(redis_url))
    signal.signal(signal.SIGTERM, feed.stop)
    feed.run()


if __name__ == "__main__":
    main(*sys.argv[1:5])
