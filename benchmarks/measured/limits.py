"""What the servers themselves give: each side alone, with a client that does nothing but move bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from benchmarks.measured.resp import Resp, pack
from benchmarks.measured.workload import COLLECTION, Document, document, key, project
from benchmarks.measured.writer import collection, insert, update_all

# The sizes at which each server was fastest on two cores; half or twice as much changes a few per cent.
FIND_BATCH = 10_000
EVENT_BATCH = 5_000
HSET_BATCH = 200

_RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)


def measure(mongo_uri: str, redis_url: str, documents: int) -> dict[str, float]:
    """Operations a second, each kind by itself, on an empty collection and an empty Redis.

    - `find`: documents in raw batches, never decoded
    - `hset_new`, `hset`: hashes of eight fields, packed beforehand, where no key is and where one is
    - `insert`, `update`: statements that mongod takes with nothing else running
    - `stream_inserts`, `stream`: events drained by raw `getMore`
    - `stream_lookup`: update events with `updateLookup`
    """
    source = collection(mongo_uri)
    with source.database.client:
        database = source.database
        changes = 2 * documents
        empty = {"resumeAfter": _now(database)}
        inserted = insert(mongo_uri, 0, documents).seconds
        filled = {"resumeAfter": _now(database)}
        updated = update_all(mongo_uri, documents, (2, 3)).seconds
        lookup = {**filled, "fullDocument": "updateLookup"}
        return {
            "find": documents / _find(mongo_uri, documents),
            "hset_new": documents / write_hashes(redis_url, documents),
            "hset": documents / write_hashes(redis_url, documents),
            "insert": documents / inserted,
            "update": changes / updated,
            "stream_inserts": documents / _drain(database, empty, documents),
            "stream": changes / _drain(database, filled, changes),
            "stream_lookup": changes / _drain(database, lookup, changes),
        }


def write_hashes(redis_url: str, documents: int) -> float:
    """Write the first version of documents 0 .. `documents - 1`, packed beforehand. The seconds it took."""
    batches = [range(at, min(at + HSET_BATCH, documents)) for at in range(0, documents, HSET_BATCH)]
    packed = [b"".join(map(_hset, batch)) for batch in batches]
    with Resp(redis_url) as redis:
        start = time.monotonic()
        redis.send(packed[0])
        for sent, following in zip(batches, packed[1:], strict=False):  # one batch is always on its way
            redis.send(following)
            redis.replies(len(sent))
        redis.replies(len(batches[-1]))
        return time.monotonic() - start


def _hset(number: int) -> bytes:
    pairs = project(document(number)).items()
    return pack(("HSET", key(number), *(part for pair in pairs for part in pair)))


def _now(database: Database[Document]) -> Any:
    """A resume token of this moment."""
    with database[COLLECTION].watch() as stream:
        stream.try_next()
        return stream.resume_token


def _find(mongo_uri: str, documents: int) -> float:
    """Seconds until all documents have arrived, undecoded."""
    source = collection(mongo_uri)
    with source.database.client:
        start = time.monotonic()
        size = sum(len(batch) for batch in source.find_raw_batches(batch_size=FIND_BATCH))
        seconds = time.monotonic() - start
    if size < documents * 100:
        raise RuntimeError(f"only {size} bytes came for {documents} documents")
    return seconds


def _drain(database: Database[Document], options: Document, events: int) -> float:
    """Seconds until that many events of the collection have arrived, undecoded."""
    start = time.monotonic()
    seen = 0
    for count in _event_batches(database, options):
        seen += count
        if seen >= events:
            return time.monotonic() - start
    raise RuntimeError(f"the stream ended after {seen} of {events} events")


def _event_batches(database: Database[Document], options: Document) -> Iterator[int]:
    opened = database.command(
        {
            "aggregate": COLLECTION,
            "pipeline": [{"$changeStream": options}],
            "cursor": {"batchSize": EVENT_BATCH},
        },
        codec_options=_RAW,
    )["cursor"]
    yield len(opened["firstBatch"])
    following = {"getMore": opened["id"], "collection": COLLECTION, "batchSize": EVENT_BATCH}
    try:
        while True:
            reply = database.command({**following, "maxTimeMS": 1_000}, codec_options=_RAW)
            yield len(reply["cursor"]["nextBatch"])
    finally:
        database.command({"killCursors": COLLECTION, "cursors": [opened["id"]]})
