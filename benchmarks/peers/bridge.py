"""mq-bridge into Redpanda Connect: a MongoDB capture on one side, the output `redis_hash` on the other.

    python -m benchmarks.peers.bridge MONGO_URI REDIS_URL DATABASE COLLECTION FOLDER BATCH

Runs under the Python of its own environment. `capture_all` copies what is there and then follows the stream; its
position is a file in FOLDER. One route and one worker, as its authors advise for a source whose order matters.
SIGTERM ends it, with exit code 0.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import mq_bridge  # type: ignore[import-not-found,unused-ignore]
import mq_bridge_connect  # type: ignore[import-not-found,unused-ignore]

FIELDS = ("v", "name", "email", "city", "street", "score", "status", "note")


def route(mongo_uri: str, redis_url: str, database: str, collection: str, folder: str, batch: int) -> Any:
    """The only route of the process."""
    capture = {
        "url": mongo_uri,
        "database": database,
        "collection": collection,
        "consume": "capture_all",
        "format": "json",
        "cursor_id": "bench",
        "checkpoint_store": f"file://{folder}/cursors.json",
    }
    hashes = {
        "connector": "redis_hash",
        "url": redis_url,
        "key": 'bench:${! json("_id") }',
        "fields": {name: f'${{! json("{name}") }}' for name in FIELDS},
    }
    return mq_bridge.Route.from_config(
        {
            "input": {"mongodb": capture},
            "output": {"custom": {"name": mq_bridge_connect.register(), "config": hashes}},
            "batch_size": batch,
        },
        "bench",
    )


def main(mongo_uri: str, redis_url: str, database: str, collection: str, folder: str, batch: str) -> None:
    """The route of the command line."""
    serve(route(mongo_uri, redis_url, database, collection, folder, int(batch)))


def serve(running: Any) -> None:
    """Run a route until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    running.start()
    print("ready", flush=True)
    stopping.wait()
    running.stop()
    running.join()


if __name__ == "__main__":
    main(*sys.argv[1:7])
