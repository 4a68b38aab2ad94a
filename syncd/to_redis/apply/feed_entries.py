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
from syncd.plan.to_redis.shape import refuse_unfit
from syncd.plan.values.raw import ODD_ID, RAW, RawId
from syncd.stores.mongo.reads.lookup import Found
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment, seconds
from syncd.to_redis.stream.numbering import NTH, entry_id
from syncd.to_redis.stream.window import Window

MOST_REMEMBERED = 1024
"""Sets of changed fields; array indexes make any number of them."""


class FeedEntries:
    """Of one contract."""

    def __init__(self, plan: StreamPlan) -> None:
        self._feeds, self._ops = plan.feeds, plan.fed_ops
        self._texts: dict[tuple[str, ...], bytes] = {}
        """Names of changed fields as JSON."""

    def wants(self, event: Document) -> bool:
        """Whether the change becomes an entry."""
        return event["operationType"] in self._ops

    def must_read(self, event: Document) -> bool:
        """Whether its entries need more than the event says: an update does not say what else the document holds."""
        op = event["operationType"]
        return op in self._ops and op != DELETE and (op == UPDATE or event.get("fullDocument") is None)

    def of_window(self, window: Window, read: Container[str], found: Found) -> list[Write]:
        """Entries of all changes. `read`: documents that were read, `found`: those of them that are there."""
        writes: list[Write] = []
        for feed in self._feeds:
            self._add(writes, feed, window.events, read, found.documents)
        return writes

    def _add(
        self,
        writes: list[Write],
        feed: ChangeFeed,
        events: Iterable[Document],
        read: Container[str],
        found: Mapping[str, Document],
    ) -> None:
        known: dict[str, Row | ProjectionError | None] = {}
        ops = feed.events
        for event in events:
            op = event["operationType"]
            if op not in ops:
                continue
            document_id = event["documentKey"]["_id"]
            ident = KEY[type(document_id)](document_id)
            content: Row | ProjectionError | None = None
            if type(document_id) is RawId:
                content = ProjectionError("odd_id", f"`_id` {ODD_ID}")
            elif op == DELETE:
                pass
            elif ident not in read:
                content = content_of(feed, event["fullDocument"])
            elif ident in known:
                content = known[ident]
            else:
                content = known[ident] = content_of(feed, found.get(ident))
            if isinstance(content, ProjectionError):
                writes.append(Dead(feed.name, ident, "", content.reason, content.detail, event))
                continue
            changed = self.changed(event) if op == UPDATE else None
            writes.append(feed.entry(ident, *id_and_time(event), op, content, changed))

    def changed(self, event: Document) -> bytes | None:
        """Names of the fields that an update set or removed, as JSON; None where the event does not say."""
        description = event.get("updateDescription")
        if not isinstance(description, dict):
            return None
        names = (*(description.get("updatedFields") or ()), *(description.get("removedFields") or ()))
        if shorter := description.get("truncatedArrays"):
            names += tuple(one["field"] for one in shorter)
        if (text := self._texts.get(names)) is None:
            # A name may hold what is no Unicode.
            text = orjson.dumps([name.encode(errors="replace").decode() for name in names])
            if len(self._texts) < MOST_REMEMBERED:
                self._texts[names] = text
        return text

    def of_copy(
        self, documents: Mapping[str, Document], time: Moment, filling: Container[str]
    ) -> Iterable[Write]:
        """Entries of documents that a copy read at `time`. `filling`: see Builder."""
        for feed in self._feeds:
            for ident, document in documents.items() if feed.copies else ():
                change = {"documentKey": document, "time": time}
                yield next_entry(feed, ident, READ, time, document, change)

    def of_replay(
        self, names: Container[str], ident: str, document: Document | None, time: Moment
    ) -> Iterable[Write]:
        """Entries instead of the dead letters that feeds of these names have of a document."""
        for feed in self._feeds:
            if feed.name in names:
                change = {"operationType": REPLAY, "time": time}
                yield next_entry(feed, ident, REPLAY, time, document, change)


def id_and_time(event: Document) -> tuple[str, int]:
    """The id of the entry of a change, and when MongoDB wrote the change, in epoch milliseconds."""
    wall, time_of = event.get("wallTime"), event["_id"]["_data"][2:18]
    return entry_id(time_of, event[NTH]), seconds(time_of) * 1000 if wall is None else int(wall)


def content_of(feed: ChangeFeed, document: Document | None) -> Row | ProjectionError | None:
    """What an entry says of a document; why it cannot."""
    try:
        if document is None:
            return None
        refuse_unfit(document)
        return feed.content(document)
    except Exception as error:  # noqa: BLE001 - no error of one document may stop the others
        return why_unfit(error)


def next_entry(
    feed: ChangeFeed, ident: str, op: str, time: Moment, document: Document | None, change: Mapping[str, Any]
) -> Entry | Dead:
    """An entry that no change stands behind."""
    odd = ident.startswith(RAW)
    content = ProjectionError("odd_id", f"`_id` {ODD_ID}") if odd else content_of(feed, document)
    if isinstance(content, ProjectionError):
        return Dead(feed.name, ident, "", content.reason, content.detail, change)
    return feed.entry(ident, "", seconds(time) * 1000, op, content)
