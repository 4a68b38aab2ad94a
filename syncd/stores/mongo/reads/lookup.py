"""Reads of documents at one moment that is known afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from pymongo.read_preferences import _ServerMode

from syncd.errors import FatalError, TransientError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.partition import WHOLE as ALL
from syncd.plan.partition import Partition
from syncd.plan.to_redis.digest import SOURCE, bucket_of
from syncd.plan.values.raw import Unfit
from syncd.stores.mongo.codes import is_about_document
from syncd.stores.mongo.ids import (
    AS_STORED,
    ONLY_ID,
    among,
    apart,
    behind,
    is_pointer,
    least,
    questions,
    raw_command,
)
from syncd.stores.mongo.reads.readable import Readable
from syncd.stores.mongo.reads.replies import RAW_CODEC, WHOLE, documents_in, moment_of
from syncd.stores.mongo.sharding import require_unique
from syncd.stores.mongo.store import Document, MongoStore, code_of, took_too_long, translated
from syncd.stores.mongo.times import ZERO, Moment, timestamp

LONGEST_CHUNK_MS = 10_000
"""Well below the time after which the driver gives a connection up."""
MOST_HAVING = 5_000
FIRST_STEP, LEAST_STEP, LARGEST_STEP = 100_000, 100, 1_000_000
QUICK_S, SLOW_S = 0.5, 3.0
"""Where a filter lets almost nothing through, or disks are slow, a chunk would search for minutes; see `chunk`."""


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
        partition: Partition = ALL,
        read_preference: _ServerMode | None = None,
    ) -> None:
        """`read_preference`: where documents are read, if not at the primary."""
        self._store, self._partition, self.read_preference = store, partition, read_preference
        self._namespace = self._database, self._collection = plan.namespace
        self._filter = plan.filter
        self._projection = plan.find_projection
        self._source = plan.source
        self.step_size: int | None = None
        """Documents that a chunk reads, at most, whether they match or not: None as long as nothing takes long."""

    @property
    def deletes_may_move(self) -> bool:
        """Whether the deletion of a document may be its move to another shard, so that it has to be looked up."""
        return self._store.is_sharded

    def by_ids(
        self,
        ids: list[Any],
        after: Moment,
        *,
        wanted: Document | None = None,
        digests: bool = False,
        every: bool = False,
        at: Moment = ZERO,
    ) -> Found:
        """Documents by `_id` that match the filter, or `every` one, read at or after `after`, or just `at`. `wanted`: a
        projection instead of the contract's; `digests`: each has SOURCE. One on which the filter fails is Unfit; an
        `_id` that MongoDB refuses to look for has no document."""
        query = None if every else self._filter
        try:
            return self._among(ids, after, query, wanted, digests, at)
        except FatalError as error:
            if not is_about_document(code_of(error)):
                raise
        self._among([], after, query, ONLY_ID)  # raises where the filter is refused for any document
        fine = self._askable(ids, after, query)
        found = self._among(fine, after, query, wanted, digests, at)
        known = set(map(id, fine))
        odd = [one for one in ids if id(one) not in known] if query is not None else []
        there = self._among(self._askable(odd, after, None), after, None, ONLY_ID).documents
        unfit = {ident: Unfit(one) for ident, one in there.items()}
        return found._replace(documents=found.documents | unfit)

    def there(self, ids: list[Any], after: Moment, *, every: bool = False) -> Found:
        """`by_ids` of `_id` alone, as for those that are not there their keys go: all of them, or TransientError."""
        found = self.by_ids(ids, after, wanted=ONLY_ID, every=every)
        if not found.complete:
            raise TransientError("mongo", "a list of ids did not fit one reply; trying again")
        return found

    def in_parts(
        self, ids: list[Any], after: Callable[[], Moment], *, digests: bool = False
    ) -> Iterator[tuple[list[Any], Found]]:
        """`by_ids` in as many parts as one reply each can hold, by halves: the ids of each, and what was found of
        them. `after` is asked again for each part."""
        found = self.by_ids(ids, after(), digests=digests)
        if found.complete or len(ids) == 1:
            yield ids, found
            return
        middle = len(ids) // 2
        yield from self.in_parts(ids[:middle], after, digests=digests)
        yield from self.in_parts(ids[middle:], after, digests=digests)

    def _askable(self, ids: list[Any], after: Moment, query: Any) -> list[Any]:
        """Those that MongoDB does not refuse, by halves."""
        try:
            self._among(ids, after, query, ONLY_ID)
        except FatalError as error:
            if not is_about_document(code_of(error)):
                raise
        else:
            return ids
        middle = len(ids) // 2
        if not middle:
            return []
        return self._askable(ids[:middle], after, query) + self._askable(ids[middle:], after, query)

    def _among(
        self, ids: list[Any], after: Moment, query: Any, wanted: Document | None = None, digests: bool = False,
        at: Moment = ZERO,
    ) -> Found:  # fmt: skip
        """Documents by `_id`, all of one moment."""
        found = Found({}, at, True)
        for part in apart(ids):
            asked = among(part) if query is None else {"$and": [among(part), query]}
            command: Document = {
                "find": self._collection, "filter": asked, "batchSize": len(part) + 1, "maxTimeMS": LONGEST_CHUNK_MS,
            }  # fmt: skip
            self._ask_for(command, digests, wanted)
            more = self._found(self._run(command, after, found.time), wanted)
            found = Found(found.documents | more.documents, more.time, found.complete and more.complete)
        return found

    def having(self, values: list[Document], after: Moment) -> Found:
        """Documents that match the filter and have all values of one of these, which are by path, as in a query. One on
        which the filter fails is left out: it has no key."""
        if not values:
            return self.by_ids([], after)
        # As a value: what a key holds may look like a pattern, or like an operator.
        query: Document = {"$or": [{path: {"$eq": one} for path, one in value.items()} for value in values]}
        if self._filter is None:
            return self._found(self._having(query, after))
        try:
            return self._found(self._having({"$and": [query, self._filter]}, after))
        except FatalError as error:
            if not is_about_document(code_of(error)):
                raise
        found = self._found(self._having(query, after, ONLY_ID), ONLY_ID)
        matching = self.by_ids([one["_id"] for one in found.documents.values()], found.time)
        fine = {ident: one for ident, one in matching.documents.items() if not isinstance(one, Unfit)}
        return Found(fine, matching.time, found.complete and matching.complete)

    def read(self, command: Document, after: Moment) -> Found:
        """What a command finds, at or after a moment."""
        return self._found(self._run(command, after))

    def _having(self, query: Document, after: Moment, wanted: Document | None = None) -> RawBSONDocument:
        # Where the values have no index, this reads the whole collection, and must not do so for ever.
        command: Document = {
            "find": self._collection, "filter": query, "batchSize": MOST_HAVING, "maxTimeMS": LONGEST_CHUNK_MS,
        }  # fmt: skip
        self._ask_for(command, wanted=wanted)
        return self._run(command, after)

    def _found(self, reply: RawBSONDocument, wanted: Document | None = None) -> Found:
        cursor, at = reply["cursor"], moment_of(reply)
        if cursor["id"]:
            with translated():
                self._command({"killCursors": self._collection, "cursors": [cursor["id"]]})
        found = self._unwrapped(reply)
        whole = found if wanted is not None else self._completed(found, at)
        require_unique(self._store, self._namespace, found)
        documents = {encode_key_value(document["_id"]): document for document in whole}
        return Found(documents, at, not cursor["id"] and len(whole) == len(found))

    def _completed(self, documents: list[Document], at: Moment) -> list[Document]:
        """Documents that were read at that moment, with what has to be read elsewhere: as many of them, from the first
        on, as that can be read for at once."""
        return documents

    def chunk(
        self,
        cursor: Document | None,
        size: int,
        after: Moment,
        last: Document | None = None,
        *,
        digests: bool = False,
    ) -> tuple[list[Document], Moment]:
        """The next documents in `_id` order behind `cursor`, at most `size` and 16 MB; none at the end, or behind
        `last`. `digests`: each has SOURCE as well."""
        while True:
            found, at, upto = self.step(cursor, size, after, last, digests=digests)
            if found or upto is None:
                return found, at
            cursor, after = upto, at

    def step(
        self,
        cursor: Document | None,
        size: int,
        after: Moment,
        last: Document | None = None,
        *,
        digests: bool = False,
    ) -> tuple[list[Document], Moment, Document | None]:
        """`chunk`, but no more than one read. Where that found nothing: up to where it was, None for to the end."""
        while True:
            started = time.monotonic()
            try:
                upto = self._end_of_step(cursor, last, after)
                reply = self._run(self._next(cursor, upto or last, size, digests), after)
            except TransientError as error:
                if not took_too_long(error):
                    raise
                self._shorten()
                continue
            except FatalError as error:
                if self._filter is None or not is_about_document(code_of(error)):
                    raise
                return self._one_by_one(cursor, size, after, last, digests)
            self._adapt(time.monotonic() - started)
            at, found = moment_of(reply), self._unwrapped(reply)
            require_unique(self._store, self._namespace, found)
            return self._completed(found, at), at, upto

    def _one_by_one(
        self, cursor: Document | None, size: int, after: Moment, last: Document | None, digests: bool
    ) -> tuple[list[Document], Moment, Document | None]:
        """`step` where the filter fails on one of the next documents: by their `_id`."""
        command: Document = {
            "find": self._collection, "filter": self._part(cursor, last), "projection": AS_STORED, "sort": {"_id": 1},
            "hint": {"_id": 1}, "limit": size, "batchSize": size, "singleBatch": True, "maxTimeMS": LONGEST_CHUNK_MS,
            **least(cursor),
        }  # fmt: skip
        reply = self._run(command, after)
        ids = [document["_id"] for document in documents_in(reply)]
        found = self.by_ids(ids, moment_of(reply), digests=digests)
        if not found.complete and len(ids) > 1:
            return self._one_by_one(cursor, len(ids) // 2, after, last, digests)
        idents = map(encode_key_value, ids)
        documents = [found.documents[ident] for ident in idents if ident in found.documents]
        return documents, found.time, {"_id": ids[-1]} if ids else None

    def _next(self, cursor: Document | None, last: Document | None, size: int, digests: bool) -> Document:
        command: Document = {
            "find": self._collection,
            "filter": self.between(cursor, last),
            "sort": {"_id": 1},
            # Without the hint a filter may pick another index and sort in memory, once a chunk.
            "hint": {"_id": 1},
            "limit": size,
            "batchSize": size,
            "singleBatch": True,
            "maxTimeMS": LONGEST_CHUNK_MS,
            **least(cursor),
        }
        self._ask_for(command, digests)
        return command

    def _end_of_step(self, cursor: Document | None, last: Document | None, after: Moment) -> Document | None:
        """Up to where the next chunk reads: None for to the end. By the index, whatever the filter says; but MongoDB
        takes the documents as well, for `$expr`, and that may take too long too."""
        if self.step_size is None:
            return None
        command: Document = {
            "find": self._collection, "filter": behind(cursor, last), "projection": ONLY_ID, "sort": {"_id": 1},
            "hint": {"_id": 1}, "skip": self.step_size - 1, "limit": 1, "singleBatch": True,
            "maxTimeMS": LONGEST_CHUNK_MS, **least(cursor),
        }  # fmt: skip
        found = documents_in(self._run(command, after))
        return found[0] if found and not is_pointer(found[0]["_id"]) else None

    def _shorten(self) -> None:
        """It took MongoDB too long; the next attempt is about less."""
        if self.step_size == LEAST_STEP:
            what = f"does not read {LEAST_STEP} documents in {LONGEST_CHUNK_MS / 1000:g} s"
            raise TransientError(
                "mongo", f"MongoDB {what}; is it overloaded, or is the contract's filter that slow?"
            )
        self.step_size = FIRST_STEP if self.step_size is None else max(LEAST_STEP, self.step_size // 4)

    def _adapt(self, seconds: float) -> None:
        if self.step_size is not None:
            if seconds < QUICK_S:
                self.step_size = min(LARGEST_STEP, 2 * self.step_size)
            elif seconds > SLOW_S:
                self.step_size = max(LEAST_STEP, self.step_size // 2)

    def _ask_for(self, command: Document, digests: bool = False, wanted: Document | None = None) -> None:
        if wanted is not None:
            command["projection"] = wanted
        elif digests:
            command["projection"] = {**(self._projection or {WHOLE: "$$ROOT"}), SOURCE: self.source_of_each}
        elif self._projection is not None:
            command["projection"] = self._projection

    @staticmethod
    def _unwrapped(reply: RawBSONDocument) -> list[Document]:
        """A whole document cannot stand beside what is computed of it, so it is a field then."""
        found = documents_in(reply)
        if found and found[0].keys() == {"_id", WHOLE, SOURCE}:
            return [{**entry[WHOLE], SOURCE: entry[SOURCE]} for entry in found]
        return found

    @property
    def source_of_each(self) -> list[Document | None]:
        """MongoDB's expression for SOURCE."""
        return [self._source, bucket_of("$_id")]

    def sources(self, ids: list[Any], after: Moment) -> tuple[dict[str, tuple[int | None, int]], Moment]:
        """Digest and bucket of these documents by ident, read at or after `after`; no digest where there is none."""
        wanted = {SOURCE: self.source_of_each}
        try:
            reply = self._among(ids, after, self._filter, wanted)
        except FatalError as error:
            if not is_about_document(code_of(error)):
                raise
            reply = self._among(self._askable(ids, after, self._filter), after, self._filter, wanted)
        found = {ident: document[SOURCE] for ident, document in reply.documents.items()}
        # Where ids are long, nothing is known of the others.
        gone = [one for one in ids if encode_key_value(one) not in found] if reply.complete else []
        buckets = self._of_ids(gone, bucket_of("$$this")) if gone else []
        sources = {ident: (digest, bucket) for ident, (digest, bucket) in found.items()}
        sources |= {encode_key_value(i): (None, bucket) for i, bucket in zip(gone, buckets, strict=True)}
        return sources, reply.time

    def between(self, cursor: Document | None, last: Document | None) -> Document:
        """The query for all documents behind `cursor`, up to `last`."""
        part = self._part(cursor, last)
        if self._filter is None:
            return part
        return {"$and": [part, dict(self._filter)]} if part else dict(self._filter)

    def _part(self, cursor: Document | None, last: Document | None) -> Document:
        """The same whether they match the filter or not."""
        parts: list[Document] = []
        if bounds := behind(cursor, last):
            parts.append(bounds)
        if not self._partition.is_whole:
            parts.append({"$expr": self._partition.holds("$_id")})
        return {"$and": parts} if len(parts) > 1 else parts[0] if parts else {}

    def own(self, ids: list[Any]) -> list[bool]:
        """Which of these `_id` belong to the partition, whether there is a document or not."""
        if self._partition.is_whole or not ids:
            return [True] * len(ids)
        return self._of_ids(ids, self._partition.holds("$$this"))

    def _of_ids(self, ids: list[Any], said: Document) -> list[Any]:
        """What MongoDB says of each of these `_id`."""
        with translated():
            replies = [self._command(one) for one in questions(self._collection, ids, said)]
        found = [one for reply in replies for document in documents_in(reply) for one in document["said"]]
        if len(found) != len(ids):
            raise TransientError("mongo", "MongoDB did not hash every id; trying again")
        return found

    def _run(self, command: Document, after: Moment, at: Moment = ZERO) -> RawBSONDocument:
        # Snapshot: one moment, majority-committed, and the reply says which. Not before `after`: causal. Or just `at`.
        command["readConcern"] = {"level": "snapshot"}
        if at > ZERO:
            command["readConcern"]["atClusterTime"] = timestamp(at)
        elif after > ZERO:
            command["readConcern"]["afterClusterTime"] = timestamp(after)
        with translated():
            return self._command(command, read_preference=self.read_preference)

    def _command(self, command: Document, **options: Any) -> RawBSONDocument:
        database: Any = self._store.client[self._database]
        try:
            found: RawBSONDocument = database.command({**command}, codec_options=RAW_CODEC, **options)
        except InvalidDocument:  # an `_id` that the driver cannot write
            found = database.command(raw_command(command), codec_options=RAW_CODEC, **options)
        return found
