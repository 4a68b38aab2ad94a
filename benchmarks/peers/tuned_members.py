"""Members of sorted sets as a careful engineer writes them: batches, pipelines, and a map of who is on which board.

    python -m benchmarks.peers.tuned_members MONGO_URI REDIS_URL DATABASE COLLECTION

Without the map nothing would say which board a document has left. No step is atomic: a reader may see a document on two
boards, and one that a killed script was about to move.
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

from benchmarks.peers.tuned import BATCH, TOKEN_KEY, Document, Tuned

MAP_KEY = "boards"


class TunedMembers(Tuned):
    """One collection followed into boards."""

    def snapshot(self) -> None:
        """Copy every document as it is now."""
        documents = iter(self.collection.find(batch_size=BATCH))
        while not self.stopping and (batch := list(islice(documents, BATCH))):
            self._write({str(document["_id"]): document for document in batch}, None)

    def apply(self, batch: Iterable[Document], token: Mapping[str, Any] | None) -> None:
        """The last state of each document of a batch."""
        self._write(
            {str(change["documentKey"]["_id"]): change.get("fullDocument") for change in batch}, token
        )

    def _write(self, states: Mapping[str, Document | None], token: Mapping[str, Any] | None) -> None:
        before: Any = self.redis.hmget(MAP_KEY, list(states))
        with self.redis.pipeline(transaction=False) as pipe:
            for (member, document), was in zip(states.items(), before, strict=True):
                board = None if document is None else f"bench:{document['board']}"
                if was is not None and was.decode() != board:
                    pipe.zrem(was, member)
                if document is None or board is None:
                    pipe.hdel(MAP_KEY, member)
                    continue
                pipe.zadd(board, {member: document["v"]})
                if was is None or was.decode() != board:
                    pipe.hset(MAP_KEY, member, board)
            if token is not None:
                pipe.set(TOKEN_KEY, json.dumps(token))
            pipe.execute()


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Connect, and follow until SIGTERM."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    members = TunedMembers(client[database][collection], Redis.from_url(redis_url))
    signal.signal(signal.SIGTERM, members.stop)
    members.run()


if __name__ == "__main__":
    main(*sys.argv[1:5])
