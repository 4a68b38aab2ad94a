"""Finds the documents with the highest scores, or the lowest."""

from __future__ import annotations

from syncd.plan.to_redis.digest import SOURCE
from syncd.stores.mongo.reads.lookup import Found, Lookup
from syncd.stores.mongo.reads.readable import Readable
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment

LONGEST_MS = 2_000
"""The lane waits."""
_TYPES = ["number"], ["date"], ["string", "bool"]
"""Types of scores; MongoDB sorts each by itself."""


def best(
    lookup: Lookup,
    plan: Readable,
    values: Document,
    path: str,
    count: int,
    *,
    highest: bool,
    after: Moment,
) -> Found:
    """Documents that match the filter and have all these values, by path: the `count` with the highest values of
    `path`, or the lowest, of each type that a score can have; complete where that is all of them.

    With an index over all these paths MongoDB reads no more than it returns. Raises a StoreError also where the filter
    fails on a document.
    """
    query: list[Document] = [{name: {"$eq": one}} for name, one in values.items()]
    query += [plan.filter] if plan.filter is not None else []
    wanted: Document = {"$project": plan.find_projection} if plan.find_projection else {"$unset": SOURCE}
    documents: dict[str, Document] = {}
    time_of, is_all = after, True
    for types in _TYPES:
        stages = _sorted(query, path, types, -1 if highest else 1)
        command: Document = {
            "aggregate": plan.namespace[1], "pipeline": [*stages, {"$limit": count}, wanted],
            "cursor": {"batchSize": count + 1}, "maxTimeMS": LONGEST_MS,
        }  # fmt: skip
        found = lookup.read(command, time_of)
        is_all = is_all and found.complete and len(found.documents) < count
        documents |= found.documents
        time_of = found.time
    return Found(documents, time_of, is_all)


def _sorted(query: list[Document], path: str, types: list[str], order: int) -> list[Document]:
    """Stages that sort documents with a score of these types."""
    stages: list[Document] = [{"$match": {"$and": [*query, {path: {"$type": types}}]}}]
    if types == _TYPES[-1]:  # as the numbers that they stand for
        number = {"$convert": {"input": f"${path}", "to": "double", "onError": None, "onNull": None}}
        stages += [{"$set": {SOURCE: number}}, {"$match": {SOURCE: {"$ne": None}}}]
        path = SOURCE
    return [*stages, {"$sort": {path: order}}]
