"""How many documents a contract has."""

from __future__ import annotations

from typing import NamedTuple

from pymongo.errors import PyMongoError

from syncd.plan.stream_plan import StreamPlan
from syncd.stores.mongo.store import MongoStore


class Count(NamedTuple):
    """About so many documents."""

    documents: int
    at_most: bool
    """Whether the filter leaves fewer: MongoDB did not count them in time."""


def count_documents(mongo: MongoStore, plan: StreamPlan, longest_ms: int) -> Count:
    """Under the filter of the contract, where it has one."""
    database, name = plan.namespace
    collection = mongo.client[database][name]
    if plan.filter is not None:
        try:
            return Count(collection.count_documents(plan.filter, maxTimeMS=longest_ms), False)
        except PyMongoError:  # what is wrong with the filter, the preflight says
            return Count(collection.estimated_document_count(), True)
    return Count(collection.estimated_document_count(), False)
