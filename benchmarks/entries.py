"""Entries of a stream, and the documents that they must become: what is measured from Redis to MongoDB.

An entry has eight fields, about 150 bytes. Its document is typed, has one inner document and about 260 bytes of BSON.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.resp import Resp, pack
from benchmarks.workload import DATABASE, Document, Shape

STREAM = "bench:events"
FIRST_MS = 1_767_323_045_000
PIPELINE = 1_000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def entry_id(number: int) -> str:
    """A millisecond for each."""
    return f"{FIRST_MS + number}-0"


def entry(number: int) -> dict[str, str]:
    """What the application says: all of it is text."""
    return {
        "model": f"model-{number % 20}",
        "user": f"user-{number % 5_000:06d}",
        "latency_ms": str(number * 7_919 % 1_000 / 8),
        "tokens": str(number % 4_096),
        "total": str(number * 3),
        "at": str(FIRST_MS + number),
        "text": f"a short line of text, number {number}",
        "ok": "true" if number % 3 else "false",
    }


def document(number: int) -> Document:
    """What it must become, by rules of its own."""
    said = entry(number)
    return {
        "_id": f"{STREAM}/{entry_id(number)}",
        "by": {"model": said["model"]},
        "user": said["user"],
        "latency_ms": float(said["latency_ms"]),
        "usage": {"tokens": int(said["tokens"]), "total": int(said["total"])},
        "at": _EPOCH + datetime.timedelta(milliseconds=FIRST_MS + number),
        "text": said["text"],
        "ok": said["ok"] == "true",
    }


def add(redis_url: str, numbers: range) -> None:
    """Put entries into the stream, as fast as it goes."""
    with Resp(redis_url) as redis:
        for start in range(0, len(numbers), PIPELINE):
            part = numbers[start : start + PIPELINE]
            redis.send(b"".join(map(packed, part)))
            redis.replies(len(part))


def packed(number: int) -> bytes:
    """The command that adds an entry."""
    pairs = [part for pair in entry(number).items() for part in pair]
    return pack(("XADD", STREAM, entry_id(number), *pairs))


@dataclass(frozen=True)
class Events(Shape):
    """The contract. `timeseries`: its collection is a time series, which the daemon makes."""

    name: str = "append"
    collection: str = "events"
    prefix: str = "events"
    timeseries: bool = False

    def contract(self) -> str:
        """The contract file."""
        series = ", timeseries: {time_field: at, meta_field: by}" if self.timeseries else ""
        return f"""\
apiVersion: syncd/v1
kind: SyncContract
metadata: {{name: {self.prefix}, version: 1.0.0, owner: benchmarks}}
mongo: {{collection: {DATABASE}.{self.collection}{series}}}
redis:
  - projection: event
    type: stream
    key: "{STREAM}"
    fields:
      model: by.model
      user: user
      latency_ms: {{from: latency_ms, type: double}}
      tokens: {{from: usage.tokens, type: int}}
      total: {{from: usage.total, type: int}}
      at: {{from: at, type: epoch_ms}}
      text: text
      ok: {{from: ok, type: bool}}
sync: {{direction: redis_to_mongo, capture: append}}
"""


def wrong(found: Iterator[Document], count: int) -> str:
    """What differs from the documents `0 .. count - 1`, each once; empty when nothing does."""
    seen: set[int] = set()
    for one in found:
        number = int(str(one["_id"]).rpartition("/")[2].partition("-")[0]) - FIRST_MS
        if number in seen:
            return f"{one['_id']} is there twice"
        if dict(one) != _right(number):
            return f"{one['_id']} differs"
        seen.add(number)
    return "" if len(seen) == count else f"{len(seen)} of {count} documents"


def _right(number: int) -> dict[str, Any]:
    return document(number)
