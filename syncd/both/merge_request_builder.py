"""Makes merge requests of documents and their changes, for a contract that goes both ways. Reads nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Drop, MergeRequest, Removal, Write
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment
from syncd.to_redis.apply.builder import Builder, Built
from syncd.to_redis.apply.watermarks import Coverage, Watermarks
from syncd.to_redis.stream.window import DATA_OPS, Window


class MergeRequestBuilder(Builder):
    """A merge request for each document. Only those of the stream have a time; all others are asked for."""

    def __init__(self, plan: TwoWayPlan, lookup: Lookup, watermarks: Watermarks) -> None:
        super().__init__(plan, lookup, watermarks)
        self._plan = plan

    def window(self, window: Window, must_read: Collection[str] = ()) -> Built:
        """With the time of the last change. A document that is gone, and had no key, needs no dead letter."""
        changes = {
            encode_key_value(event["documentKey"]["_id"]): event
            for event in window.events
            if event["operationType"] in DATA_OPS
        }
        writes: list[Write] = []
        for ident, event in changes.items():
            wall = round(event.get("wallTime") or 0)
            merge_request = self._plan.merge_request_or_dead_letter(
                ident, event["documentKey"]["_id"], event, wall
            )
            if isinstance(merge_request, MergeRequest) or event["operationType"] != "delete":
                writes.append(merge_request)
        return writes, Coverage(changes, window.time, passed=window.time)

    def copies(self, documents: Mapping[str, Document], time: Moment) -> list[Write]:
        """A dead letter for a document that can have no key."""
        return [
            self._plan.merge_request_or_dead_letter(
                ident, document["_id"], {"documentKey": document, "time": time}
            )
            for ident, document in documents.items()
        ]

    def found(self, ident: str, document: Document, time: Moment, change: Document) -> list[Write]:
        """The same."""
        return [self._plan.merge_request_or_dead_letter(ident, document["_id"], change)]

    def missing(self, ident: str, document_id: Any) -> list[Write]:
        """Nothing for a document that had no key."""
        merge_request = self._plan.merge_request_or_dead_letter(ident, document_id, {})
        return [merge_request] if isinstance(merge_request, MergeRequest) else []

    def orphans(self, drops: Sequence[Removal], current: Collection[str]) -> list[Write]:
        """Keys of another template may hold what MongoDB does not have: they stay. Documents that changed since have a
        merge request from the stream."""
        plan = self._plan
        ours = [drop for drop in drops if isinstance(drop, Drop) and drop.ident in current]
        keys = [(drop.ident, (drop.key or "").encode()) for drop in ours]
        return [
            plan.merge_request(ident, plan.state.document_id(key))
            for ident, key in keys
            if plan.state.owns(key)
        ]
