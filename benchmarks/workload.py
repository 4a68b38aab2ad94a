"""The data, the changes and the projection that every system must produce.

A document has an integer `_id` and eight fields, about 300 bytes of BSON. `v` counts its versions from 1. All
values are such that any sensible text form of them is the same (no dates, no booleans, no whole doubles),
and short enough for Redis' compact form of a hash (64 bytes each).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

DATABASE = "bench"
COLLECTION = "docs"
FIELDS = ("v", "name", "email", "city", "street", "score", "status", "note")
BATCH = 1_000
MARKERS = 16
"""Documents that are written last in every backlog: when they are visible, so is everything before them."""

_CITIES = ("Lisbon", "Nairobi", "Osaka", "Quito", "Reykjavik", "Tashkent", "Wellington")
_STATES = ("active", "invited", "suspended")
_STREETS = ("Rua das Flores", "Kenyatta Avenue", "Midosuji", "Calle La Ronda", "Laugavegur", "Amir Temur")
_NOTE = "deliver in the morning, call when the gate is closed, "

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the machine's monotonic clock, in seconds; the same clock in every process."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


def document(number: int, version: int = 1) -> Document:
    """The document with `_id` = `number`, as it is inserted."""
    return {
        "_id": number,
        "v": version,
        "name": f"Customer {number:08d}",
        "email": f"customer.{number:08d}@example.com",
        "city": _CITIES[number % len(_CITIES)],
        "street": f"{number % 997} {_STREETS[number % len(_STREETS)]}, building {number % 31}",
        "score": number % 4_000 + 0.25,
        "status": _STATES[number % len(_STATES)],
        "note": f"{_NOTE}{number * 2_654_435_761 % 2**32:08x}",
    }


def update(number: int, version: int) -> Document:
    """One statement of an `update` command: every other one sets one field, the rest set two."""
    values: Document = {"v": version}
    if (number + version) % 2:
        values["score"] = (number + version) % 4_000 + 0.75
    return {"q": {"_id": number}, "u": {"$set": values}}


def key(number: int) -> str:
    """The Redis key of a document."""
    return f"bench:{number}"


def project(source: Document) -> dict[bytes, bytes]:
    """The hash that a document must become, by rules of its own: nothing of any system under test is used."""
    return {name.encode(): str(source[name]).encode() for name in FIELDS}


def markers(first: int, count: int) -> range:
    """The last `MARKERS` of the documents `first` .. `first + count - 1`."""
    return range(first + count - min(MARKERS, count), first + count)


def collection(mongo_uri: str) -> Collection[Document]:
    """The collection of the workload, over a new client."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    return client[DATABASE][COLLECTION]


def insert(mongo_uri: str, first: int, count: int) -> Span:
    """Insert documents in `_id` order, so that the markers come last."""
    documents = [RawBSONDocument(bson.encode(document(number))) for number in range(first, first + count)]
    return _send(mongo_uri, "insert", "documents", documents)


def update_all(mongo_uri: str, count: int, versions: tuple[int, int]) -> Span:
    """Update every document once to each version: one pass after the other, the markers at the very end."""
    late = markers(0, count)
    order = [(number, version) for version in versions for number in range(late.start)]
    order += [(number, version) for version in versions for number in late]
    return _send(
        mongo_uri,
        "update",
        "updates",
        [RawBSONDocument(bson.encode(update(number, version))) for number, version in order],
    )


def _send(mongo_uri: str, command: str, argument: str, statements: list[RawBSONDocument]) -> Span:
    """Send prepared statements as fast as mongod takes them; encoding them is not part of the time."""
    with MongoClient[Document](mongo_uri) as client:
        database: Database[Document] = client[DATABASE]
        database.command("ping")
        start = time.monotonic()
        for batch in _batches(statements):
            reply = database.command({command: COLLECTION, argument: batch, "ordered": True})
            if reply["n"] != len(batch) or "writeErrors" in reply:
                raise RuntimeError(f"{command} did not take every statement: {reply}")
        return Span(start, time.monotonic())


def _batches(statements: list[RawBSONDocument]) -> Iterator[list[RawBSONDocument]]:
    for at in range(0, len(statements), BATCH):
        yield statements[at : at + BATCH]
