"""The script of a careful engineer on a Redis Cluster: redis-py's cluster client, and a pipeline that it cuts by nodes.

    python -m benchmarks.peers.tuned_cluster MONGO_URI REDIS_URL DATABASE COLLECTION

The position has one slot, the keys have all: it is written after the data of a batch, not with them.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pymongo import MongoClient
from redis.cluster import ClusterNode, RedisCluster

from benchmarks.peers.tuned import TOKEN_KEY, Document, Tuned, queue


class TunedCluster(Tuned):
    """One collection followed into a cluster."""

    def apply(self, batch: Iterable[Document], token: Mapping[str, Any] | None) -> None:
        """Write one batch, and then its position."""
        pipe = self.redis.pipeline()
        queue(pipe, batch)
        pipe.execute()
        self.redis.set(TOKEN_KEY, json.dumps(token))


def main(mongo_uri: str, redis_url: str, database: str, collection: str) -> None:
    """Connect, and follow until SIGTERM."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    hosts = (node.split(":") for node in redis_url.removeprefix("redis+cluster://").split(","))
    nodes = [ClusterNode(host, int(port)) for host, port in hosts]
    tuned = TunedCluster(client[database][collection], RedisCluster(startup_nodes=nodes))
    signal.signal(signal.SIGTERM, tuned.stop)
    tuned.run()


if __name__ == "__main__":
    main(*sys.argv[1:5])
