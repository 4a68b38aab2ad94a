"""What is measured from Redis to MongoDB: entries of a stream, and keys whose documents follow them.

An entry, or a hash, has eight fields, about 150 bytes. Its document is typed, has two inner documents and about 260
bytes of BSON. All that an application says is text.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measured.resp import Resp, pack
from benchmarks.measured.workload import DATABASE, Document, Shape

STREAM = "bench:events"
OUTBOX = "syncd:{back}:outbox"
FIRST_MS = 1_767_323_045_000
PIPELINE = 500
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def said(number: int) -> dict[str, str]:
    """What the application says."""
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


@dataclass(frozen=True)
class Way(Shape):
    """One contract from Redis to MongoDB, and what it must come to, by rules of its own."""

    name: str = "append"
    collection: str = "events"
    prefix: str = "back"
    """Also the contract's name."""
    timeseries: bool = False
    capture: str = "append"

    @property
    def is_stream(self) -> bool:
        """Whether each change is an entry and a document of its own."""
        return self.capture == "append"

    def document(self, number: int) -> Document:
        """What it must become."""
        text = said(number)
        return {
            "_id": self.ident(number),
            "by": {"model": text["model"]},
            "user": text["user"],
            "latency_ms": float(text["latency_ms"]),
            "usage": {"tokens": int(text["tokens"]), "total": int(text["total"])},
            "at": _EPOCH + datetime.timedelta(milliseconds=FIRST_MS + number),
            "text": text["text"],
            "ok": text["ok"] == "true",
        }

    def ident(self, number: int) -> str | int:
        """The `_id`."""
        return f"{STREAM}/{FIRST_MS + number}-0" if self.is_stream else number

    def number(self, ident: str | int) -> int:
        """The reverse."""
        return int(str(ident).rpartition("/")[2].partition("-")[0]) - (FIRST_MS if self.is_stream else 0)

    def change(self, number: int) -> list[bytes]:
        """The commands of the application."""
        pairs = [part for pair in said(number).items() for part in pair]
        if self.is_stream:
            return [pack(("XADD", STREAM, f"{FIRST_MS + number}-0", *pairs))]
        hset = pack(("HSET", self.key(number), *pairs))
        if self.capture == "keyspace":
            return [hset]
        note = pack(("XADD", OUTBOX, "*", "key", self.key(number)))
        return [pack(("MULTI",)), hset, note, pack(("EXEC",))]

    def change_all(self, redis_url: str, numbers: range) -> None:
        """As fast as it goes."""
        with Resp(redis_url) as redis:
            for start in range(0, len(numbers), PIPELINE):
                commands = [
                    part for number in numbers[start : start + PIPELINE] for part in self.change(number)
                ]
                redis.send(b"".join(commands))
                redis.replies(len(commands))

    def wrong(self, found: Iterator[Document], count: int) -> str:
        """What differs from the documents `0 .. count - 1`, each once; empty when nothing does."""
        seen: set[int] = set()
        for one in found:
            number = self.number(one["_id"])
            one.pop("_syncd", None)
            if number in seen:
                return f"{one['_id']} is there twice"
            if one != self.document(number):
                return f"{one['_id']} differs"
            seen.add(number)
        return "" if len(seen) == count else f"{len(seen)} of {count} documents"

    def contract(self) -> str:
        """The contract file."""
        series = ", timeseries: {time_field: at, meta_field: by}" if self.timeseries else ""
        kind, key = ("stream", STREAM) if self.is_stream else ("hash", f"{self.prefix}:{{_id}}")
        return f"""\
apiVersion: syncd/v1
kind: SyncContract
metadata: {{name: {self.prefix}, version: 1.0.0, owner: benchmarks}}
mongo: {{collection: {DATABASE}.{self.collection}{series}}}
redis:
  - projection: event
    type: {kind}
    key: "{key}"
    fields:
      model: by.model
      user: user
      latency_ms: {{from: latency_ms, type: double}}
      tokens: {{from: usage.tokens, type: int}}
      total: {{from: usage.total, type: int}}
      at: {{from: at, type: epoch_ms}}
      text: text
      ok: {{from: ok, type: bool}}
sync: {{direction: redis_to_mongo, capture: {self.capture}}}
"""


WAYS = {
    way.name: way
    for way in (
        Way(),
        Way("series", timeseries=True),
        Way("outbox", capture="outbox"),
        Way("keyspace", capture="keyspace"),
    )
}
"""By the name of their row."""
