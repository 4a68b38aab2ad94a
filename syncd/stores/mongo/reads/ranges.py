"""Cuts a collection into ranges of `_id`, of about as many documents each. Needs no more than the right to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pymongo.collection import Collection

from syncd.plan.stream_plan import StreamPlan
from syncd.plan.values.raw import POINTER, read
from syncd.stores.mongo.reads.replies import RAW_CODEC
from syncd.stores.mongo.store import Document, MongoStore, translated

MOST_RANGES = 5_000
SAMPLES = 20
"""Documents read for each range: it has twice as many as the average, or half, once in a thousand times."""
LARGEST_SHARE = 25
"""One document in so many is read, at most: above one in twenty MongoDB would read and sort all of them."""


@dataclass(frozen=True)
class Range:
    """Documents with `after` < `_id` <= `upto` in MongoDB's order over all types; None: no bound.

    Bounds are {"_id": value} as BSON. They are data, and stay out of what is logged.
    """

    after: bytes | None = field(default=None, repr=False)
    upto: bytes | None = field(default=None, repr=False)

    @property
    def bounds(self) -> tuple[Document | None, Document | None]:
        """Both, decoded."""
        after, upto = (None if bound is None else read(bound) for bound in (self.after, self.upto))
        return after, upto


ALL = Range()


def ranges_between(bounds: list[bytes]) -> list[Range]:
    """What lies before, between and behind ascending bounds: each `_id` is in one of them."""
    return [Range(after, upto) for after, upto in pairwise([None, *bounds, None])]


def cut(store: MongoStore, plan: StreamPlan, size: int, most: int = MOST_RANGES) -> list[bytes]:
    """Ascending bounds between ranges of about `size` documents, more where that were more than `most` ranges. A filter
    is not checked: it would cost a scan."""
    database, collection = plan.namespace
    with translated():
        source: Collection[Any] = store.client[database].get_collection(collection, codec_options=RAW_CODEC)
        count = source.estimated_document_count()
        parts = min(most, -(-count // size))
        if parts < 2:
            return []
        stages: list[Document] = [
            {"$sample": {"size": max(parts, min(parts * SAMPLES, count // LARGEST_SHARE))}},
            {"$bucketAuto": {"groupBy": "$_id", "buckets": parts}},
            {"$project": {"_id": "$_id.min"}},
        ]
        starts = [bytes(found.raw) for found in source.aggregate(stages)]
    return [start for start in starts[1:] if start[4] != POINTER]  # see is_pointer
