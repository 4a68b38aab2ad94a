"""What documents and their changes become where MongoDB alone writes the keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from syncd.errors import ProjectionError
from syncd.plan.keys.encode import KEY
from syncd.plan.to_redis.change import Delta, Drop, Elements, Judged, Removal, Write
from syncd.plan.to_redis.change_feed import REPLAY
from syncd.plan.to_redis.compile import Plan
from syncd.plan.values.raw import ODD_ID, RAW, RawId
from syncd.stores.mongo.reads.lookup import Found, Lookup
from syncd.stores.mongo.sharding import moved
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO, Moment, token_time
from syncd.to_redis.apply.builder import Builder, Built
from syncd.to_redis.apply.filtered_entries import entries_of
from syncd.to_redis.apply.watermarks import Coverage, Verdict, Watermarks
from syncd.to_redis.stream.window import DATA_OPS, Window

NOTHING = Found({}, ZERO, True)
Changes: TypeAlias = "Document | list[Document]"
"""What a window says of one document: mostly a single event, else several in order."""


class KeyBuilder(Builder):
    """Writes of keys. A window is coalesced to one state a document."""

    def __init__(self, plan: Plan, lookup: Lookup, watermarks: Watermarks) -> None:
        super().__init__(plan, lookup, watermarks)
        self._plan, self._filtered = plan, plan.filter is not None
        self._has_each = any(shape.each for shape in plan.shapes)
        self._entries = entries_of(plan, lookup) if plan.feeds else None
        self._says_too_little = self._filtered or bool(plan.joins)

    def read_anyway(self, events: Iterable[Document]) -> dict[str, Any]:
        """Of all changes but deletions where MongoDB has to be asked of each; otherwise those that entries need."""
        if self._entries is None and not self._says_too_little:
            return {}
        needs = _is_no_deletion if self._entries is None else self._entries.must_read
        ids = (
            event["documentKey"]["_id"] for event in events
            if event["operationType"] in DATA_OPS and needs(event)
        )  # fmt: skip
        return {KEY[type(document_id)](document_id): document_id for document_id in ids}

    def copies(self, documents: Mapping[str, Document], time: Moment) -> list[Write]:
        """Keys as a whole."""
        writes = self._plan.copies(documents, time)
        return (
            writes
            if self._entries is None
            else [*writes, *self._entries.of_copy(documents, time, self.filling)]
        )

    def found(self, ident: str, document: Document, time: Moment, change: Document) -> list[Write]:
        """The same."""
        return self._plan.puts(ident, document, time, change)

    def missing(self, ident: str, document_id: Any) -> list[Write]:
        """The keys that it may have had go."""
        return self._plan.drops(ident, document_id, deleted=False)

    def replayed(
        self, names: Collection[str], ident: str, document: Document | None, time: Moment
    ) -> list[Write]:
        """The entries that change feeds lack."""
        return [] if self._entries is None else [*self._entries.of_replay(names, ident, document, time)]

    def orphans(self, drops: Sequence[Removal], current: Collection[str]) -> list[Write]:
        """The stream writes no key of a projection that is gone, and of an orphan Redis finds out whether it is one;
        all others it may have written since the read."""
        return [drop for drop in drops if not isinstance(drop, Drop | Judged) or drop.ident in current]

    def window(self, window: Window, must_read: Collection[str] = ()) -> Built | None:
        """Where a document has to be read, all that have are read at once. Of elements, what differs is written."""
        built = self._window(window, must_read)
        if built is None or not self._has_each:
            return built
        writes, covers = built
        return [one._replace(rewrite=False) if type(one) is Elements else one for one in writes], covers

    def _window(self, window: Window, must_read: Collection[str]) -> Built | None:
        to_read: dict[str, Any] = {}
        by_document = self._group(window, must_read, to_read)
        writes: list[Write] = []
        single, several = self._single, self._several
        for ident, changes in by_document.items():
            if ident not in to_read:
                direct = several(ident, changes) if isinstance(changes, list) else single(ident, changes)
                if direct is None:
                    to_read[ident] = last_of(changes)["documentKey"]["_id"]
                else:
                    writes += direct
        found = self._read(window, to_read) if to_read else NOTHING
        if found is None:
            return None
        if self._plan.shapes:
            writes += self._read_writes(found, by_document, to_read)
        if self._entries is not None:
            told = self._without_moves(window) if self.lookup.deletes_may_move else window
            writes += self._entries.of_window(told, to_read, found)
        # What was not read shows an earlier state, and its later changes come with the stream.
        time = max(window.time, found.time)
        return writes, Coverage(by_document, time, to_read, found.time, passed=window.time)

    def _without_moves(self, window: Window) -> Window:
        """Without the deletions that are half of a change of a shard key: MongoDB reports an insert as well, before or
        after it."""
        gone = [
            event for event in window.events
            if event["operationType"] == "delete" and len(event["documentKey"]) > 1
        ]  # fmt: skip
        if not gone:
            return window
        after = max(window.time, self.watermarks.horizon)
        answers = moved(self.lookup, [one["documentKey"] for one in gone], after)
        halves = {id(event) for event, answer in zip(gone, answers, strict=True) if answer}
        return replace(window, events=[event for event in window.events if id(event) not in halves])

    def _group(
        self, window: Window, must_read: Collection[str], to_read: dict[str, Any]
    ) -> dict[str, Changes]:
        """The changes of a window by document. Those that a read covers are left out, or have to be read."""
        groups: dict[str, Changes] = {}
        entries = self._entries
        verdict = self.watermarks.verdict
        # Mostly no read covers any of these changes: then there is nothing to ask event by event.
        clear = self.watermarks.is_clear(token_time(window.events[0]["_id"])) if window.events else True
        for event in window.events:
            if event["operationType"] not in DATA_OPS:
                continue
            document_id = event["documentKey"]["_id"]
            ident = KEY[type(document_id)](document_id)
            if not clear:
                what = verdict(ident, token_time(event["_id"]))
                if what is Verdict.SKIP and not (entries is not None and entries.wants(event)):
                    continue
                if what is not Verdict.APPLY:
                    to_read[ident] = document_id
            if entries is not None and entries.must_read(event):
                to_read[ident] = document_id
            before = groups.get(ident)
            if before is None:
                groups[ident] = event
                if ident in must_read or type(document_id) is RawId:
                    to_read[ident] = document_id
            elif isinstance(before, list):
                before.append(event)
            else:
                groups[ident] = [before, event]
        return groups

    def _single(self, ident: str, event: Document) -> list[Write] | None:
        """The writes of a document with one change; None when it has to be read."""
        op, document_id = event["operationType"], event["documentKey"]["_id"]
        if op == "delete":
            if self.lookup.deletes_may_move:
                return None  # an update of the shard key is a deletion and an insert of one time
            return self._plan.drops(ident, document_id, deleted=True)
        if self._filtered:
            return None  # only MongoDB can say whether it matches
        if op == "update":
            delta = self._delta(event)
            return None if delta is None else self._plan.patches(ident, document_id, [delta])
        document = event.get("fullDocument")
        return None if document is None else self._plan.puts(ident, document, token_time(event["_id"]), event)

    def _several(self, ident: str, events: list[Document]) -> list[Write] | None:
        """The same for several changes: from the last that says all, with the updates behind it."""
        start = len(events) - 1
        while start > 0 and events[start]["operationType"] == "update":
            start -= 1
        if events[start]["operationType"] != "update":
            whole, events = self._single(ident, events[start]), events[start + 1 :]
            if whole is None or not events:
                return whole
        else:
            whole = None
        if self._filtered:
            return None
        deltas = [delta for event in events if (delta := self._delta(event)) is not None]
        if len(deltas) < len(events):
            return None
        if whole is None:
            return self._plan.patches(ident, events[0]["documentKey"]["_id"], deltas)
        return self._plan.patched(whole, deltas)

    def _delta(self, event: Document) -> Delta | None:
        if self.watermarks.copying:
            return None  # the key may be older than the change
        description = event.get("updateDescription")
        return None if description is None else self._plan.deltas.read(description)

    def _read(self, window: Window, to_read: dict[str, Any]) -> Found | None:
        """Documents that have to be read; None when one reply could not hold them."""
        # Later than anything that shows: a new primary may be behind what it has confirmed itself.
        after, ahead = max(window.time, self.watermarks.horizon), window.ahead
        if ahead is not None and ahead.found.time >= after and to_read.keys() <= ahead.idents:
            return ahead.found
        found = self.lookup.by_ids(list(to_read.values()), after)
        return found if found.complete or len(window.events) == 1 else None

    def _read_writes(
        self, found: Found, by_document: dict[str, Changes], to_read: dict[str, Any]
    ) -> list[Write]:
        """The writes of documents that were read."""
        writes: list[Write] = []
        for ident, document_id in to_read.items():
            document, last = found.documents.get(ident), last_of(by_document[ident])
            if document is None and ident.startswith(RAW) and last["operationType"] != "delete":
                # A name that stands twice comes out of MongoDB's pipelines as another one, so that it cannot be found.
                why = ProjectionError("odd_id", f"`_id` {ODD_ID}")
                # Its entries have dead letters of their own.
                writes += self._plan.dead_letters(ident, why, {**last, "operationType": REPLAY})
            elif document is None:
                deleted = last["operationType"] == "delete"
                writes += self._plan.drops(ident, document_id, deleted=deleted)
            else:
                writes += self._plan.puts(ident, document, found.time, last)
        return writes


def _is_no_deletion(event: Document) -> bool:
    return bool(event["operationType"] != "delete")


def last_of(changes: Changes) -> Document:
    """The latest change."""
    return changes[-1] if isinstance(changes, list) else changes
