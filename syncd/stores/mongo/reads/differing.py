"""Finds the documents that Redis does not show as MongoDB has them, by digests: some hundred kilobytes for any number.

MongoDB adds up its digests by bucket, and of the buckets whose sums differ returns them one by one. A collection is
read in ranges, so that each answer comes soon: a range costs some seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.read_concern import ReadConcern

from syncd.errors import TransientError
from syncd.plan.keys.templates import decode_key_value, encode_key_value
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.digest import BUCKETS, SOURCE, bucket_of
from syncd.plan.values.raw import encode
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.reads.ranges import ALL, Range, cut, ranges_between
from syncd.stores.mongo.reads.replies import RAW_CODEC, document_in
from syncd.stores.mongo.store import Document, MongoStore, took_too_long, translated
from syncd.stores.mongo.times import ZERO, Moment, timestamp
from syncd.stores.paging import paged
from syncd.stores.redis.records.keys.digests import Digests

RANGE_DOCUMENTS, FEWEST_DOCUMENTS = 1_000_000, 1_000
LONGEST_RANGE_MS = 30_000
"""To add a range up; where it takes longer, ranges get smaller. To return the documents of its buckets then fits into
the time after which the driver gives a connection up."""
AT_ONCE = 100_000
"""Documents of the buckets that are returned one by one in a pass over the collection."""
MOST_PASSES = 8
PAGE = 1_000


class Differing:
    """One search, for one thread. `documents` is how many MongoDB has added up so far."""

    def __init__(
        self, mongo: MongoStore, plan: StreamPlan, lookup: Lookup, digests: Digests, after: Moment = ZERO
    ) -> None:
        """Nothing is read as it was before `after`."""
        self._mongo, self._plan, self._lookup, self._digests = mongo, plan, lookup, digests
        self._after = after
        self.documents = 0
        self.is_too_much = False
        """Whether so much differs that to compare everything is cheaper. Then nothing was named."""

    def pages(self) -> Iterator[list[Any]]:
        """`_id` of documents that differ or may differ. An empty page where there is nothing to report yet."""
        sums: dict[int, tuple[int, int]] = {}
        ranges: list[Range] = []
        size = RANGE_DOCUMENTS
        while not ranges:
            ranges = ranges_between(cut(self._mongo, self._plan, size))
            try:
                for part in ranges:
                    self._add_up(part, sums)
                    yield []
            except TransientError as error:
                if not took_too_long(error) or size <= FEWEST_DOCUMENTS:
                    raise
                size, self.documents = size // 10, 0
                sums.clear()
                ranges = []
        groups = self._groups(sums)
        self.is_too_much = len(groups) > MOST_PASSES
        if self.is_too_much:
            return
        for group in groups:
            yield from self._compared(group, ranges)
        for idents in self._digests.all_changed():
            yield [decode_key_value(ident) for ident in idents]

    def _add_up(self, part: Range, sums: dict[int, tuple[int, int]]) -> None:
        group = {"_id": bucket_of("$_id"), "n": {"$sum": 1}, "sum": {"$sum": self._plan.source}}
        for found in self._aggregate(part, [{"$group": group}], maxTimeMS=LONGEST_RANGE_MS):
            n, total = sums.get(found["_id"], (0, 0))
            sums[found["_id"]] = n + found["n"], total + found["sum"]
            self.documents += found["n"]

    def _groups(self, sums: dict[int, tuple[int, int]]) -> list[list[int]]:
        """The buckets that differ, as many at once as memory should hold."""
        stored = self._digests.sums()
        groups: list[list[int]] = []
        size = AT_ONCE
        for bucket in self._digests.buckets:
            theirs, ours = sums.get(bucket, (0, 0)), stored.get(bucket, (0, 0))
            if theirs == ours:
                continue
            size += theirs[0] + ours[0]
            if size > AT_ONCE:
                groups.append([])
                size = theirs[0] + ours[0]
            groups[-1].append(bucket)
        return groups

    def _compared(self, buckets: Sequence[int], ranges: Sequence[Range]) -> Iterator[list[Any]]:
        stored = self._digests.of_buckets(buckets)
        chosen = set(buckets)
        # One byte a bucket: to ask for a byte of a text takes the same time for one bucket as for all of them.
        text = "".join("1" if bucket in chosen else "0" for bucket in range(BUCKETS))
        is_chosen = {"$eq": [{"$substrBytes": [text, "$bucket", 1]}, "1"]}
        stages: list[Document] = [
            {"$project": {"bucket": bucket_of("$_id"), "document": "$$ROOT"}},
            {"$match": {"$expr": is_chosen}},
            {"$replaceRoot": {"newRoot": "$document"}},
            {"$project": {SOURCE: self._lookup.source_of_each}},
        ]
        for part in ranges:
            for page in paged(self._aggregate(part, stages), PAGE):
                yield [found["_id"] for found in page if not _is_known(found, stored)]
        for idents in paged((ident for left in stored.values() for ident in left), PAGE):
            yield [decode_key_value(ident) for ident in idents]

    def _aggregate(self, part: Range, stages: list[Document], **options: Any) -> Iterator[Document]:
        database, name = self._plan.namespace
        collection: Any = self._mongo.client[database].get_collection(
            name, RAW_CODEC, self._lookup.read_preference, read_concern=ReadConcern("majority")
        )
        if part != ALL:
            options["hint"] = {"_id": 1}
        within = RawBSONDocument(encode({"$match": self._lookup.between(*part.bounds)}))
        wanted: Any = [within, *stages]
        with translated(), collection.database.client.start_session(causal_consistency=True) as session:
            if self._after > ZERO:
                session.advance_operation_time(timestamp(self._after))
            yield from map(document_in, collection.aggregate(wanted, session, batchSize=BUCKETS, **options))


def _is_known(found: Document, stored: dict[int, dict[str, int]]) -> bool:
    """Whether Redis has this very digest. What is left in `stored` has no document."""
    digest, bucket = found[SOURCE]
    return bool(stored[bucket].pop(encode_key_value(found["_id"]), None) == digest)
