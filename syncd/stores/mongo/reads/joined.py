"""Reads of documents together with those that they name in other collections, all of one moment.

MongoDB's `$lookup` stays within one database, and reads a document that a thousand others name a thousand times. So
the documents come first, and then what they name, once each, as it was at the very moment of that read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.read_preferences import _ServerMode

from syncd.plan.partition import WHOLE as ALL
from syncd.plan.partition import Partition
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.joins import Joined
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import Moment


def lookup_of(
    store: MongoStore,
    plan: StreamPlan,
    partition: Partition = ALL,
    read_preference: _ServerMode | None = None,
) -> Lookup:
    """What finds the documents of a contract, with all that it reads of them."""
    if plan.joins:
        return JoinedLookup(store, plan, partition, read_preference)
    return Lookup(store, plan, partition, read_preference)


class JoinedLookup(Lookup):
    """Of a contract with joins."""

    def __init__(
        self, store: MongoStore, plan: StreamPlan, partition: Partition, read_preference: _ServerMode | None
    ) -> None:
        super().__init__(store, plan, partition, read_preference)
        self._joins = plan.joins
        self._of = {join.name: Lookup(store, join, ALL, read_preference) for join in plan.joins}

    def _completed(self, documents: list[Document], at: Moment) -> list[Document]:
        """The first of these documents, as many as can be read at once with what they name."""
        named: dict[str, list[str | None]] = {}
        found: dict[str, dict[str, Document]] = {}
        for join in self._joins:
            holders = documents if not join.parent else _looked_up(named[join.parent], found[join.parent])
            pairs = [join.named_by(holder) for holder in holders]
            named[join.name] = [pair[0] if pair else None for pair in pairs]
            wanted = dict(filter(None, pairs))
            answer = self._of[join.name].by_ids([*wanted.values()], at, at=at) if wanted else None
            if answer is not None and not answer.complete and len(documents) > 1:
                return self._completed(documents[: len(documents) // 2], at)
            found[join.name] = answer.documents if answer is not None else {}
        for join in self._joins:
            _put(join, documents, _looked_up(named[join.name], found[join.name]))
        return documents


def _looked_up(idents: Sequence[str | None], found: dict[str, Document]) -> list[Document]:
    """What each names; where there is none, an empty one. The text of one `_id` is empty."""
    return [{} if ident is None else found.get(ident, {}) for ident in idents]


def _put(join: Joined, documents: Sequence[Document], found: Sequence[Document]) -> None:
    """What stands in the document under that name otherwise cannot be read."""
    shown: dict[int, dict[str, Any]] = {}
    for document, one in zip(documents, found, strict=True):
        document.pop(join.name, None)
        if one:
            if id(one) not in shown:
                shown[id(one)] = join.shown(one)
            document[join.name] = shown[id(one)]
