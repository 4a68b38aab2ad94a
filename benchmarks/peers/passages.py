"""What a careful engineer writes for passages: a hash for each, and a digest of each beside the keys of its document.

    python -m benchmarks.peers.passages MONGO_URI REDIS_URL

Of a document that changed only passages that differ are written, those that are gone are deleted, and the resume token
goes in the same pipeline. No step is atomic: a reader may see passages of two states of a document.
"""

from __future__ import annotations

import hashlib
import json
import signal
import struct
import sys
from itertools import islice
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from redis import Redis

BATCH, FLUSH_MS = 20, 10
TOKEN_KEY = "passages:token"

Document = dict[str, Any]


def hashes(document: Document) -> dict[str, dict[str, Any]]:
    """What each key holds."""
    return {
        f"passage:{document['_id']}:{one['id']}": {
            "title": document["title"], "text": one["text"],
            "embedding": struct.pack(f"<{len(one['embedding'])}f", *one["embedding"]),
        }
        for one in document["passages"]
    }  # fmt: skip


def digest(content: dict[str, Any]) -> bytes:
    """Of a hash."""
    return hashlib.blake2b(repr(sorted(content.items())).encode(), digest_size=16).digest()


def apply(redis: Redis, documents: list[Document], gone: list[Any], token: Any) -> None:
    """Write what differs."""
    ids = [document["_id"] for document in documents] + gone
    with redis.pipeline(transaction=False) as pipe:
        for ident in ids:
            pipe.hgetall(f"digests:{ident}")
        known = dict(zip(ids, pipe.execute(), strict=True))
    with redis.pipeline(transaction=False) as pipe:
        for document in documents:
            before = known[document["_id"]]
            wanted = hashes(document)
            for key, content in wanted.items():
                if before.get(key.encode()) != (now := digest(content)):
                    pipe.delete(key)
                    pipe.hset(key, mapping=content)
                    pipe.hset(f"digests:{document['_id']}", key, now)
            if stale := [key for key in before if key.decode() not in wanted]:
                pipe.delete(*stale)
                pipe.hdel(f"digests:{document['_id']}", *stale)
        for ident in gone:
            pipe.delete(f"digests:{ident}", *known[ident])
        if token is not None:
            pipe.set(TOKEN_KEY, json.dumps(token))
        pipe.execute()


def follow(collection: Collection[Document], redis: Redis) -> None:
    """Snapshot if there is no position, then the stream."""
    stored: Any = redis.get(TOKEN_KEY)
    token = None if stored is None else json.loads(stored)
    with collection.watch(resume_after=token, batch_size=1_000, max_await_time_ms=FLUSH_MS) as stream:
        if token is None:
            start, documents = stream.resume_token, iter(collection.find(batch_size=BATCH))
            while batch := list(islice(documents, BATCH)):
                apply(redis, batch, [], None)
            redis.set(TOKEN_KEY, json.dumps(start))
        print("ready", flush=True)
        while True:
            ids: dict[Any, None] = {}
            while len(ids) < BATCH and (event := stream.try_next()) is not None:
                ids[event["documentKey"]["_id"]] = None
            if ids:
                found = list(collection.find({"_id": {"$in": list(ids)}}))
                apply(redis, found, list(ids.keys() - {one["_id"] for one in found}), stream.resume_token)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with MongoClient[Document](sys.argv[1]) as client, Redis.from_url(sys.argv[2]) as target:
        follow(client["bench"]["articles"], target)
