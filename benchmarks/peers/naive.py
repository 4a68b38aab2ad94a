"""What most people write: one change, one command. No snapshot, no position, nothing survives a restart.

python -m benchmarks.peers.naive MONGO_URI REDIS_URL DATABASE COLLECTION
"""

from __future__ import annotations

import sys
from typing import Any

from pymongo import MongoClient
from redis import Redis

FIELDS = ("v", "name", "email", "city", "street", "score", "status", "note")


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Follow the collection until killed."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri)
    r = Redis.from_url(redis_url)
    with client[database][collection].watch(full_document="updateLookup") as changes:
        print("ready", flush=True)
        for change in changes:
            document = change["fullDocument"]
            r.hset(f"bench:{document['_id']}", mapping={name: document[name] for name in FIELDS})


if __name__ == "__main__":
    main(*sys.argv[1:5])
