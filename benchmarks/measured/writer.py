"""Writing the workload to MongoDB, as fast as mongod takes it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from benchmarks.measured.workload import COLLECTION, DATABASE, PLAIN, Document, Shape, markers

BATCH = 1_000
PREPARED = 250_000
"""Statements that are encoded before they are sent: encoding them is no part of the time, up to so many."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the machine's monotonic clock, in seconds; the same clock in every process."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


def collection(mongo_uri: str, name: str = COLLECTION) -> Collection[Document]:
    """The collection of the workload, over a new client."""
    client: MongoClient[Document] = MongoClient(mongo_uri)
    return client[DATABASE][name]


def insert(mongo_uri: str, first: int, count: int, shape: Shape = PLAIN) -> Span:
    """Insert documents in `_id` order, so that the markers come last."""
    return _send(mongo_uri, shape, "insert", "documents", map(shape.document, range(first, first + count)))


def update_all(mongo_uri: str, count: int, versions: tuple[int, ...], shape: Shape = PLAIN) -> Span:
    """Update every document once to each version: one pass after the other, the markers at the very end."""
    late = markers(0, count)
    order = [(number, version) for version in versions for number in range(late.start)]
    order += [(number, version) for version in versions for number in late]
    statements = (_update(shape, number, version) for number, version in order)
    return _send(mongo_uri, shape, "update", "updates", statements)


def churn(mongo_uri: str, count: int, version: int, seconds: float, shape: Shape = PLAIN) -> int:
    """Update all documents round after round for so long, to ever higher versions. How many updates there were."""
    deadline = time.monotonic() + seconds
    written = 0
    with MongoClient[Document](mongo_uri) as client:
        while time.monotonic() < deadline:
            numbers = (number % count for number in range(written, written + BATCH))
            batch = [_raw(_update(shape, number, version + written // count)) for number in numbers]
            _command(client[DATABASE], "update", shape.collection, "updates", batch)
            written += BATCH
    return written


def _update(shape: Shape, number: int, version: int) -> Document:
    """One statement of an `update` command."""
    return {"q": {"_id": number}, "u": {"$set": shape.changed(number, version)}}


def _raw(statement: Document) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(statement))


def _send(mongo_uri: str, shape: Shape, command: str, argument: str, statements: Iterable[Document]) -> Span:
    """Send statements as fast as mongod takes them."""
    remaining = iter(statements)
    with MongoClient[Document](mongo_uri) as client:
        database = client[DATABASE]
        database.command("ping")
        prepared = [_raw(statement) for statement in islice(remaining, PREPARED)]
        start = time.monotonic()
        while prepared:
            for batch in _batches(prepared):
                _command(database, command, shape.collection, argument, batch)
            prepared = [_raw(statement) for statement in islice(remaining, PREPARED)]
        return Span(start, time.monotonic())


def _command(
    database: Database[Document], command: str, name: str, argument: str, batch: list[RawBSONDocument]
) -> None:
    reply = database.command({command: name, argument: batch, "ordered": True})
    if reply["n"] != len(batch) or "writeErrors" in reply:
        raise RuntimeError(f"{command} did not take every statement: {reply}")


def _batches(statements: list[RawBSONDocument]) -> Iterator[list[RawBSONDocument]]:
    for at in range(0, len(statements), BATCH):
        yield statements[at : at + BATCH]
