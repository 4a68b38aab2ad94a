"""What the servers themselves give: each side alone, with a client that does nothing but move bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from benchmarks.resp import Resp, pack
from benchmarks.workload import (
    BATCH,
    COLLECTION,
    Document,
    collection,
    document,
    insert,
    key,
    project,
    update_all,
)

_RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)


def measure(mongo_uri: str, redis_url: str, documents: int) -> dict[str, float]:
    """Operations a second, each kind by itself, on an empty collection and an empty Redis.

    - `find`: documents in raw batches, never decoded
    - `hset`: hashes of eight fields, packed beforehand
    - `insert`, `update`: statements that mongod takes with nothing else running
    - `stream_inserts`, `stream`: events drained by raw `getMore`
    - `stream_lookup`: update events with `updateLookup`
    """
    source = collection(mongo_uri)
    with source.database.client:
        database = source.database
        before = _now(database)
        inserted = insert(mongo_uri, 0, documents).seconds
        between = _now(database)
        updated = update_all(mongo_uri, documents, (2, 3)).seconds
        return {
            "find": documents / _find(mongo_uri, documents),
            "hset": documents / write_hashes(redis_url, documents),
            "insert": documents / inserted,
            "update": 2 * documents / updated,
            "stream_inserts": documents / _drain(database, {"resumeAfter": before}, documents),
            "stream": 2 * documents / _drain(database, {"resumeAfter": between}, 2 * documents),
            "stream_lookup": 2
            * documents
            / _drain(database, {"resumeAfter": between, "fullDocument": "updateLookup"}, 2 * documents),
        }


def _now(database: Database[Document]) -> Any:
    """A resume token of this moment."""
    with database[COLLECTION].watch() as stream:
        stream.try_next()
        return stream.resume_token


def _find(mongo_uri: str, documents: int) -> float:
    source = collection(mongo_uri)
    with source.database.client:
        start = time.monotonic()
        size = sum(len(batch) for batch in source.find_raw_batches(batch_size=10 * BATCH))
        seconds = time.monotonic() - start
    if size < documents * 100:
        raise RuntimeError(f"only {size} bytes came for {documents} documents")
    return seconds


def write_hashes(redis_url: str, documents: int) -> float:
    """Write the first version of documents 0 .. `documents - 1`, packed beforehand. The seconds it took."""
    packed = [
        b"".join(
            pack(
                ("HSET", key(number), *(part for pair in project(document(number)).items() for part in pair))
            )
            for number in range(at, min(at + BATCH, documents))
        )
        for at in range(0, documents, BATCH)
    ]
    with Resp(redis_url) as redis:
        start = time.monotonic()
        redis.send(packed[0])
        for following in packed[1:]:  # one batch is always on its way
            redis.send(following)
            redis.replies(BATCH)
        redis.replies(documents - (len(packed) - 1) * BATCH)
        return time.monotonic() - start


def _drain(database: Database[Document], options: Document, events: int) -> float:
    """Seconds until that many events of the collection have arrived."""
    start = time.monotonic()
    seen = 0
    for count in _batches(database, options):
        seen += count
        if seen >= events:
            return time.monotonic() - start
    raise RuntimeError(f"the stream ended after {seen} of {events} events")


def _batches(database: Database[Document], options: Document) -> Iterator[int]:
    pipeline = [{"$changeStream": options}]
    opened = database.command(
        {"aggregate": COLLECTION, "pipeline": pipeline, "cursor": {}}, codec_options=_RAW
    )["cursor"]
    yield len(opened["firstBatch"])
    while opened["id"]:
        reply = database.command(
            {"getMore": opened["id"], "collection": COLLECTION, "maxTimeMS": 1_000}, codec_options=_RAW
        )
        yield len(reply["cursor"]["nextBatch"])
