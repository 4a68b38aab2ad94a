"""Reads of documents at one moment that is known afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from pymongo.read_preferences import _ServerMode

from syncd.errors import TransientError
from syncd.plan.codec import CODEC
from syncd.plan.keys import encode_key_value
from syncd.plan.partition import WHOLE, Partition
from syncd.stores.mongo import Document, MongoStore, translated
from syncd.stores.times import ZERO, Moment, moment, timestamp


class Readable(Protocol):
    """Which documents, and what of them: a plan says it, or part of one."""

    @property
    def namespace(self) -> tuple[str, str]:
        """Database and collection."""

    @property
    def filter(self) -> Any:
        """A query that documents match; None for all."""

    @property
    def find_projection(self) -> Any:
        """For `find`; None for whole documents."""


class Found(NamedTuple):
    """Documents by ident, as they were at `time`. `complete` is False when one reply could not hold all of them."""

    documents: dict[str, Document]
    time: Moment
    complete: bool

    def of(self, idents: Iterable[str]) -> dict[str, Document | None]:
        """These documents, None where there is none."""
        return {ident: self.documents.get(ident) for ident in idents}


class Lookup:
    """Finds documents of one contract, chunks only of one partition. Thread-safe."""

    def __init__(
        self,
        store: MongoStore,
        plan: Readable,
        partition: Partition = WHOLE,
        read_preference: _ServerMode | None = None,
    ) -> None:
        """`read_preference`: where documents are read, if not at the primary."""
        self._store, self._partition, self._preference = store, partition, read_preference
        self._database, self._collection = plan.namespace
        self._filter = plan.filter
        self._projection = plan.find_projection

    def by_ids(self, ids: list[Any], after: Moment, *, only_ids: bool = False) -> Found:
        """The documents with these `_id` that match the filter, read at or after `after`."""
        query: Document = {"_id": {"$in": ids}}
        if self._filter is not None:
            query = {"$and": [query, self._filter]}
        command: Document = {"find": self._collection, "filter": query, "batchSize": len(ids) + 1}
        if only_ids or self._projection is not None:
            command["projection"] = {"_id": 1} if only_ids else self._projection
        reply = self._run(command, after)
        cursor = reply["cursor"]
        if cursor["id"]:
            self._kill(cursor["id"])
        documents = {encode_key_value(document["_id"]): document for document in cursor["firstBatch"]}
        return Found(documents, _moment(reply), not cursor["id"])

    def chunk(
        self, cursor: Document | None, size: int, after: Moment, last: Document | None = None
    ) -> tuple[list[Document], Moment]:
        """The next documents in `_id` order behind `cursor`, at most `size` and 16 MB; none at the end, or behind
        `last`."""
        command: Document = {
            "find": self._collection,
            "filter": self._between(cursor, last),
            "sort": {"_id": 1},
            # Without the hint a filter may pick another index and sort in memory, once a chunk.
            "hint": {"_id": 1},
            "limit": size,
            "batchSize": size,
            "singleBatch": True,
        }
        if self._projection is not None:
            command["projection"] = self._projection
        reply = self._run(command, after)
        return reply["cursor"]["firstBatch"], _moment(reply)

    def _between(self, cursor: Document | None, last: Document | None) -> Document:
        parts: list[Document] = []
        # A bare {_id: {$gt: last}} compares within one BSON type and skips all others without a word.
        if cursor is not None:
            parts.append({"$expr": {"$gt": ["$_id", {"$literal": cursor["_id"]}]}})
        if last is not None:
            parts.append({"$expr": {"$lte": ["$_id", {"$literal": last["_id"]}]}})
        if self._filter is not None:
            parts.append(dict(self._filter))
        if not self._partition.is_whole:
            parts.append({"$expr": self._partition.holds("$_id")})
        return {"$and": parts} if len(parts) > 1 else parts[0] if parts else {}

    def own(self, ids: list[Any]) -> list[bool]:
        """Which of these `_id` belong to the partition, whether there is a document or not."""
        if self._partition.is_whole or not ids:
            return [True] * len(ids)
        # `$facet` gives one document from none. `$documents` would be plainer, and needs rights on the whole database.
        ours = {"$map": {"input": {"$literal": ids}, "in": self._partition.holds("$$this")}}
        command: Document = {
            "aggregate": self._collection,
            "pipeline": [
                {"$match": {"$expr": False}},
                {"$facet": {"none": [{"$limit": 1}]}},
                {"$project": {"own": ours}},
            ],
            "cursor": {},
        }
        with translated():
            reply = self._store.client[self._database].command(command, codec_options=CODEC)
        found = [own for document in reply["cursor"]["firstBatch"] for own in document["own"]]
        if len(found) != len(ids):
            raise TransientError("mongo", "MongoDB did not hash every id; trying again")
        return found

    def _run(self, command: Document, after: Moment) -> Document:
        # Snapshot: one moment, majority-committed, and the reply says which. Not before `after`: causal.
        command["readConcern"] = {"level": "snapshot"}
        if after > ZERO:
            command["readConcern"]["afterClusterTime"] = timestamp(after)
        with translated():
            database = self._store.client[self._database]
            return database.command(command, codec_options=CODEC, read_preference=self._preference)

    def _kill(self, cursor: int) -> None:
        with translated():
            self._store.client[self._database].command({"killCursors": self._collection, "cursors": [cursor]})


def _moment(reply: Document) -> Moment:
    """When the read happened. A collection that does not exist has no snapshot: then the time of the answer."""
    return moment(reply["cursor"].get("atClusterTime", reply["operationTime"]))
