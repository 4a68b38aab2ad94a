"""A hash for each element of an array as a careful engineer writes it, with a digest of each beside its document.

    python -m benchmarks.peers.tuned_elements MONGO_URI REDIS_URL DATABASE COLLECTION

Of a document that changed only elements that differ are written, and those that are gone are deleted. No step is
atomic: a reader may see elements of two states of a document.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pymongo import MongoClient
from redis import Redis

from benchmarks.peers.passages import digest
from benchmarks.peers.tuned import BATCH, TOKEN_KEY, Document, Tuned


class TunedElements(Tuned):
    """One collection followed into hashes of elements."""

    def snapshot(self) -> None:
        """Copy every document as it is now."""
        documents = iter(self.collection.find(batch_size=BATCH))
        while not self.stopping and (batch := list(islice(documents, BATCH))):
            self._write({document["_id"]: document for document in batch}, None)

    def apply(self, batch: Iterable[Document], token: Mapping[str, Any] | None) -> None:
        """The last state of each document of a batch."""
        self._write({change["documentKey"]["_id"]: change.get("fullDocument") for change in batch}, token)

    def _write(self, states: Mapping[Any, Document | None], token: Mapping[str, Any] | None) -> None:
        with self.redis.pipeline(transaction=False) as pipe:
            for ident in states:
                pipe.hgetall(f"digests:{ident}")
            known = pipe.execute()
        with self.redis.pipeline(transaction=False) as pipe:
            for (ident, document), before in zip(states.items(), known, strict=True):
                wanted = hashes(document) if document is not None else {}
                changed: dict[Any, Any] = {}
                for key, content in wanted.items():
                    if before.get(key.encode()) != (now := digest(content)):
                        pipe.delete(key)
                        pipe.hset(key, mapping=content)
                        changed[key] = now
                if changed:
                    pipe.hset(f"digests:{ident}", mapping=changed)
                if stale := [key for key in before if key.decode() not in wanted]:
                    pipe.delete(*stale)
                    pipe.hdel(f"digests:{ident}", *stale)
            if token is not None:
                pipe.set(TOKEN_KEY, json.dumps(token))
            pipe.execute()


def hashes(document: Document) -> dict[str, dict[Any, Any]]:
    """What each key holds."""
    return {
        f"bench:{document['_id']}:{part['id']}": {
            "name": document["name"],
            "v": part["v"],
            "text": part["text"],
        }
        for part in document["parts"]
    }


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Connect, and follow until SIGTERM."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    elements = TunedElements(client[database][collection], Redis.from_url(redis_url))
    signal.signal(signal.SIGTERM, elements.stop)
    elements.run()


if __name__ == "__main__":
    main(*sys.argv[1:5])
