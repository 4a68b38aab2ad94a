"""Documents with what they name in another collection, as a careful engineer writes them.

    python -m benchmarks.peers.tuned_joins MONGO_URI REDIS_URL DATABASE COLLECTION

One stream over both collections; of each batch the customers are read in one query, and the orders of customers that
changed in another. What is read is later than the change that it answers, and at two moments: a key may show an order
and a customer that never were together.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from redis import Redis

from benchmarks.peers.tuned import BATCH, TOKEN_KEY, Document, Tuned, project

CUSTOMERS = "customers"


class TunedJoins(Tuned):
    """Two collections followed into one Redis."""

    def __init__(self, collection: Collection[Document], redis: Redis) -> None:
        super().__init__(collection, redis)
        self.watched = collection.database
        self._customers = collection.database[CUSTOMERS]

    def snapshot(self) -> None:
        """Copy every document as it is now."""
        documents = iter(self.collection.find(batch_size=BATCH))
        while not self.stopping and (batch := list(islice(documents, BATCH))):
            self._write({document["_id"]: document for document in batch}, None)

    def apply(self, batch: Iterable[Document], token: Mapping[str, Any] | None) -> None:
        """The last state of each document of a batch, and of all that name a customer of it."""
        states: dict[Any, Document | None] = {}
        customers = []
        for change in batch:
            ident = change["documentKey"]["_id"]
            if change["ns"]["coll"] == CUSTOMERS:
                customers.append(ident)
            else:
                states[ident] = change.get("fullDocument")
        if customers:
            naming = self.collection.find({"customer_id": {"$in": customers}})
            states |= {document["_id"]: document for document in naming}
        self._write(states, token)

    def _write(self, states: Mapping[Any, Document | None], token: Mapping[str, Any] | None) -> None:
        ids = {document["customer_id"] for document in states.values() if document is not None}
        found = self._customers.find({"_id": {"$in": list(ids)}}, {"name": 1})
        names = {customer["_id"]: customer["name"] for customer in found}
        with self.redis.pipeline(transaction=False) as pipe:
            for ident, document in states.items():
                pipe.delete(f"bench:{ident}")
                if document is not None:
                    named = {"customer": names[who]} if (who := document["customer_id"]) in names else {}
                    pipe.hset(f"bench:{ident}", mapping={**project(document), **named})
            if token is not None:
                pipe.set(TOKEN_KEY, json.dumps(token))
            pipe.execute()


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Connect, and follow until SIGTERM."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    joins = TunedJoins(client[database][collection], Redis.from_url(redis_url))
    signal.signal(signal.SIGTERM, joins.stop)
    joins.run()


if __name__ == "__main__":
    main(*sys.argv[1:5])
