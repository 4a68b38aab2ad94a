"""A Redis stream through Redpanda Connect's input `redis_streams` into its output `mongodb`, run by mq-bridge.

    python -m benchmarks.peers.bridge_append MONGO_URI REDIS_URL DATABASE COLLECTION FOLDER BATCH

Runs under the Python of its own environment. `replace-one` with `upsert` by an `_id` made from stream and entry: what
its authors advise so that a redelivery changes nothing. SIGTERM ends it, with exit code 0.
"""

from __future__ import annotations

import sys
from typing import Any

import mq_bridge  # type: ignore[import-not-found,unused-ignore]
import mq_bridge_connect  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.bridge import serve

STREAM = "bench:events"
IDENT = f'"{STREAM}/" + meta("redis_stream")'
DOCUMENT = f"""\
root._id = {IDENT}
root.by.model = meta("model")
root.user = meta("user")
root.latency_ms = {{"$numberDouble": meta("latency_ms")}}
root.usage.tokens = {{"$numberInt": meta("tokens")}}
root.usage.total = {{"$numberInt": meta("total")}}
root.at = {{"$date": {{"$numberLong": meta("at")}}}}
root.text = content().string()
root.ok = meta("ok") == "true"
"""


def route(mongo_uri: str, redis_url: str, database: str, collection: str, batch: int) -> Any:
    """The only route of the process."""
    name = mq_bridge_connect.register()
    source = {
        "connector": "redis_streams",
        "url": redis_url,
        "streams": [STREAM],
        "consumer_group": "bridge",
        "client_id": "bench",
        "limit": batch,
        "start_from_oldest": True,
        "body_key": "text",
    }
    target = {
        "connector": "mongodb",
        "url": mongo_uri,
        "database": database,
        "collection": collection,
        "operation": "replace-one",
        "upsert": True,
        "write_concern": {"w": "majority"},
        "filter_map": f"root._id = {IDENT}",
        "document_map": DOCUMENT,
        "batching": {"count": batch, "period": "10ms"},
    }
    return mq_bridge.Route.from_config(
        {
            "input": {"custom": {"name": name, "config": source}},
            "output": {"custom": {"name": name, "config": target}},
            "batch_size": batch,
        },
        "bench",
    )


def main(mongo_uri: str, redis_url: str, database: str, collection: str, _folder: str, batch: str) -> None:
    """The route of the command line."""
    serve(route(mongo_uri, redis_url, database, collection, int(batch)))


if __name__ == "__main__":
    main(*sys.argv[1:7])
