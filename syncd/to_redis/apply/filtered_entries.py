"""What changes become in change feeds of a contract with a filter: MongoDB says whether a document matches, and Redis
knows whether it did before (see lua/operations/matched)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from syncd.errors import ProjectionError
from syncd.plan.keys.encode import KEY
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import GONE, IN, OUT, Dead, Entry, Judged, Matched, Write
from syncd.plan.to_redis.change_feed import DELETE, ENTER, LEAVE, READ, UPDATE, ChangeFeed, Row
from syncd.plan.values.raw import ODD_ID, RAW
from syncd.stores.mongo.reads.lookup import Found, Lookup
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment, seconds
from syncd.to_redis.apply.feed_entries import FeedEntries, content_of, id_and_time, next_entry
from syncd.to_redis.stream.window import DATA_OPS, Window


class FilteredEntries(FeedEntries):
    """Of one contract."""

    def __init__(self, plan: StreamPlan, lookup: Lookup) -> None:
        super().__init__(plan)
        self._lookup = lookup

    def must_read(self, event: Document) -> bool:
        """Only MongoDB can say whether it matches."""
        return bool(event["operationType"] != DELETE)

    def of_window(self, window: Window, read: Container[str], found: Found) -> list[Write]:
        """Entries of all changes, or what may become one."""
        changes = [(_ident(event), event) for event in window.events if event["operationType"] in DATA_OPS]
        # What was read behind a deletion says nothing of the changes before it.
        deleted = {ident: at for at, (ident, event) in enumerate(changes) if event["operationType"] == DELETE}
        there = self._there(dict(changes), found)
        states = [
            GONE if at <= deleted.get(ident, -1) else IN if ident in found.documents
            else OUT if ident in there else GONE
            for at, (ident, _) in enumerate(changes)
        ]  # fmt: skip
        writes: list[Write] = []
        for feed in self._feeds:
            known: dict[str, Row | ProjectionError | None] = {}
            for (ident, event), state in zip(changes, states, strict=True):
                if state == IN and ident not in known:
                    known[ident] = content_of(feed, found.documents[ident])
                writes.append(self._judged(feed, ident, event, state, known.get(ident)))
        return writes

    def _there(self, last: Mapping[str, Document], found: Found) -> Container[str]:
        """Documents that are there, and do not match. One that is not there is gone: its deletion is yet to come, and
        says so."""
        ids = [
            event["documentKey"]["_id"] for ident, event in last.items()
            if event["operationType"] != DELETE and ident not in found.documents and not ident.startswith(RAW)
        ]  # fmt: skip
        return self._lookup.there(ids, found.time, every=True).documents if ids else ()

    def _judged(
        self,
        feed: ChangeFeed,
        ident: str,
        event: Document,
        state: str,
        content: Row | ProjectionError | None,
    ) -> Write:
        op = event["operationType"]
        if op != DELETE and ident.startswith(RAW):
            content = ProjectionError("odd_id", f"`_id` {ODD_ID}")
        elif state != IN:
            content = None
        if isinstance(content, ProjectionError):
            return Dead(feed.name, ident, "", content.reason, content.detail, event)
        changed = self.changed(event) if op == UPDATE else None
        return feed.judged(feed.entry(ident, *id_and_time(event), op, content, changed), state)

    def of_copy(
        self, documents: Mapping[str, Document], time: Moment, filling: Container[str]
    ) -> Iterable[Write]:
        """Of documents that were not known to match before."""
        for feed in self._feeds:
            if feed.name in filling and not feed.copies:
                yield Matched(feed, tuple(ident for ident in documents if not ident.startswith(RAW)))
                continue
            for ident, document in documents.items():
                change: dict[str, Any] = {"documentKey": document, "time": time}
                op = READ if feed.copies else ENTER
                yield _in(feed, next_entry(feed, ident, op, time, document, change))

    def of_replay(
        self, names: Container[str], ident: str, document: Document | None, time: Moment
    ) -> Iterable[Write]:
        """Of one that matches. That one does no more is no matter of dead letters."""
        for write in super().of_replay(names, ident, document, time) if document is not None else ():
            assert isinstance(write, Entry | Dead)
            yield _in(write.shape, write) if isinstance(write, Entry) else write


def _ident(event: Document) -> str:
    document_id = event["documentKey"]["_id"]
    ident: str = KEY[type(document_id)](document_id)
    return ident


def _in(feed: ChangeFeed, write: Entry | Dead) -> Judged | Dead:
    return feed.judged(write, IN) if isinstance(write, Entry) else write


def left(feed: ChangeFeed, ident: str, time: Moment, *, deleted: bool) -> Judged:
    """A copy finds that a document matches no more, or is gone."""
    op = DELETE if deleted else LEAVE
    return feed.judged(feed.entry(ident, "", seconds(time) * 1000, op, None), GONE if deleted else OUT)


def entries_of(plan: StreamPlan, lookup: Lookup) -> FeedEntries:
    """Of a contract with change feeds."""
    return FeedEntries(plan) if plan.filter is None else FilteredEntries(plan, lookup)
