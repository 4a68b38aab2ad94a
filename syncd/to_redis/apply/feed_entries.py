"""What changes become in change feeds: an entry each, in the order of the stream. Nothing is coalesced."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

import orjson

from syncd.errors import ProjectionError, why_unfit
from syncd.plan.keys.encode import KEY
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Dead, Entry, Write
from syncd.plan.to_redis.change_feed import DELETE, READ, REPLAY, UPDATE, ChangeFeed, Row
from syncd.plan.values.raw import ODD_ID, RAW
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment, seconds, token_time
from syncd.to_redis.stream.numbering import NTH, entry_id, epoch_ms
from syncd.to_redis.stream.window import Window


class FeedEntries:
    """Of one contract."""

    def __init__(self, plan: StreamPlan) -> None:
        self._feeds, self._ops = plan.feeds, plan.fed_ops

    def wants(self, event: Document) -> bool:
        """Whether the change becomes an entry."""
        return event["operationType"] in self._ops

    def must_read(self, event: Document) -> bool:
        """Whether its entries need more than the event says: an update does not say what else the document holds."""
        op = event["operationType"]
        return op in self._ops and op != DELETE and (op == UPDATE or event.get("fullDocument") is None)

    def of_window(
        self, window: Window, read: Container[str], found: Mapping[str, Document]
    ) -> Iterable[Write]:
        """Entries of all changes. `read`: documents that were read, `found`: those of them that are there."""
        known: dict[tuple[ChangeFeed, str], Row | ProjectionError | None] = {}
        for event in window.events:
            op = event["operationType"]
            if op not in self._ops:
                continue
            document_id = event["documentKey"]["_id"]
            ident = KEY[type(document_id)](document_id)
            for feed in self._feeds:
                if op not in feed.events:
                    continue
                content: Row | ProjectionError | None = None
                if op != DELETE and ident in read:
                    if (feed, ident) not in known:
                        known[feed, ident] = _content(feed, ident, found.get(ident))
                    content = known[feed, ident]
                elif op != DELETE:
                    content = _content(feed, ident, event["fullDocument"])
                elif ident.startswith(RAW):
                    content = _content(feed, ident, None)
                yield _entry(feed, ident, event, content)

    def of_copy(self, documents: Mapping[str, Document], time: Moment) -> Iterable[Write]:
        """Entries of documents that a copy read at `time`."""
        for feed in self._feeds:
            for ident, document in documents.items() if feed.copies else ():
                change = {"documentKey": document, "time": time}
                yield _next_entry(feed, ident, READ, time, document, change)

    def of_replay(
        self, names: Container[str], ident: str, document: Document | None, time: Moment
    ) -> Iterable[Write]:
        """Entries instead of the dead letters that feeds of these names have of a document."""
        for feed in self._feeds:
            if feed.name in names:
                change = {"operationType": REPLAY, "time": time}
                yield _next_entry(feed, ident, REPLAY, time, document, change)


def _content(feed: ChangeFeed, ident: str, document: Document | None) -> Row | ProjectionError | None:
    """What an entry says of a document; why it cannot."""
    if ident.startswith(RAW):
        return ProjectionError("odd_id", f"`_id` {ODD_ID}")
    try:
        return None if document is None else feed.content(document)
    except Exception as error:  # noqa: BLE001 - no error of one document may stop the others
        return why_unfit(error)


def _entry(feed: ChangeFeed, ident: str, event: Document, content: Row | ProjectionError | None) -> Write:
    if isinstance(content, ProjectionError):
        return Dead(feed.name, ident, "", content.reason, content.detail, event)
    op = event["operationType"]
    return feed.entry(
        ident,
        entry_id(token_time(event["_id"]), event[NTH]),
        op,
        epoch_ms(event),
        content,
        _changed(event) if op == UPDATE else None,
    )


def _next_entry(
    feed: ChangeFeed, ident: str, op: str, time: Moment, document: Document | None, change: Mapping[str, Any]
) -> Entry | Dead:
    content = _content(feed, ident, document)
    if isinstance(content, ProjectionError):
        return Dead(feed.name, ident, "", content.reason, content.detail, change)
    return feed.entry(ident, "", op, seconds(time) * 1000, content)


def _changed(event: Document) -> bytes | None:
    """Names of the fields that an update set or removed, as JSON; None where the event does not say."""
    description = event.get("updateDescription")
    if not isinstance(description, dict):
        return None
    names = [
        *(description.get("updatedFields") or ()),
        *(description.get("removedFields") or ()),
        *(one["field"] for one in description.get("truncatedArrays") or ()),
    ]
    return orjson.dumps(names)
