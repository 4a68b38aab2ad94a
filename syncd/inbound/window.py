"""Some consecutive changes of a stream, coalesced to one state a document.

A window is what one atomic call applies, together with the position behind its last change. Coalescing never reaches
across windows: a crash leaves either all of a window or nothing of it, so no key can show a state that the stored
position has not reached, except through reads, and those are in the mark (see floors).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from syncd.errors import ProjectionError, why_unfit
from syncd.inbound.floors import Floors, Verdict
from syncd.plan.change import Dead, Delta, Write
from syncd.plan.compile import Plan
from syncd.plan.key_encode import KEY, ODD_ID, encode_key_value
from syncd.plan.raw import RAW, RawId
from syncd.stores.lookup import Lookup
from syncd.stores.mongo import Document
from syncd.stores.times import ZERO, Moment, token_time

DATA_OPS = frozenset({"insert", "update", "replace", "delete"})


Changes: TypeAlias = "Document | list[Document]"
"""What a window says of one document: mostly a single event, else several in order."""


@dataclass(slots=True)
class Window:
    """Consecutive events of one stream. `build` may be called again when the floors have moved."""

    events: list[Document]
    token: Document
    time: Moment
    must_read: set[str] = field(default_factory=set)
    """Documents whose delta Redis refused, because the key was not there."""
    by_document: dict[str, Changes] = field(default_factory=dict)
    """Documents that the last build wrote, with their changes."""
    read: list[str] = field(default_factory=list)
    """Documents that the last build read, as of `read_time`."""
    read_time: Moment = ZERO
    floors_version: int = -1
    why_unfit: ProjectionError | None = None
    """Why its only change cannot be applied."""


class WindowBuilder:
    """Turns windows of one contract into writes."""

    def __init__(self, plan: Plan, lookup: Lookup, floors: Floors) -> None:
        self._plan, self._lookup, self._floors = plan, lookup, floors
        self._filtered = plan.filter is not None
        self.deltas_allowed = True
        """False while a snapshot runs over keys that may be older than the stream."""

    def build(self, window: Window) -> list[Write] | None:
        """The writes of a window, or None when its documents are too big to be read at once: split it then."""
        window.floors_version = self._floors.version
        if window.why_unfit is not None:
            return self._letters(window, window.why_unfit)
        to_read: dict[str, Any] = {}
        by_document = window.by_document = self._group(window, to_read)
        writes: list[Write] = []
        single, several = self._single, self._several
        for ident, changes in by_document.items():
            if ident not in to_read:
                direct = several(ident, changes) if isinstance(changes, list) else single(ident, changes)
                if direct is None:
                    to_read[ident] = last_of(changes)["documentKey"]["_id"]
                else:
                    writes += direct
        read = self._read(window, to_read)
        if read is not None:
            self._floors.touch(by_document, max(window.time, window.read_time))
            writes += read
        return None if read is None else writes

    def unfit(self, window: Window, error: Exception) -> None:
        """A window of one change has raised an error: read the document next, or give it up where that was no help.
        Raises the error where it has been given up."""
        event = window.events[0]
        if window.why_unfit is not None or event["operationType"] not in DATA_OPS:
            raise error
        ident = encode_key_value(event["documentKey"]["_id"])
        if ident in window.must_read:
            window.why_unfit = why_unfit(error)
        window.must_read.add(ident)

    def _letters(self, window: Window, why: ProjectionError) -> list[Write]:
        window.read = []
        event = window.events[0]
        ident = encode_key_value(event["documentKey"]["_id"])
        return self._dead(ident, event, why)

    def _dead(self, ident: str, event: Document, why: ProjectionError) -> list[Write]:
        return [Dead(shape.name, ident, "", why.reason, why.detail, event) for shape in self._plan.shapes]

    def is_stale(self, window: Window) -> bool:
        """Whether a read was confirmed since the last build that covers a change taken from the events."""
        if window.floors_version == self._floors.version:
            return False
        verdict = self._floors.verdict
        return any(
            verdict(ident, token_time(first_of(changes)["_id"])) is not Verdict.APPLY
            for ident, changes in window.by_document.items()
        )

    def _group(self, window: Window, to_read: dict[str, Any]) -> dict[str, Changes]:
        """The changes of a window by document. Those that a floor covers are left out, or have to be read."""
        groups: dict[str, Changes] = {}
        must_read, verdict = window.must_read, self._floors.verdict
        # Mostly no read covers any of these changes: then there is nothing to ask event by event.
        clear = self._floors.is_clear(token_time(window.events[0]["_id"])) if window.events else True
        for event in window.events:
            if event["operationType"] not in DATA_OPS:
                continue
            document_id = event["documentKey"]["_id"]
            ident = KEY[type(document_id)](document_id)
            if not clear:
                what = verdict(ident, token_time(event["_id"]))
                if what is Verdict.SKIP:
                    continue
                if what is Verdict.READ:
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
            if self._lookup.deletes_may_move:
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
        if not self.deltas_allowed:
            return None
        description = event.get("updateDescription")
        return None if description is None else self._plan.deltas.read(description)

    def _read(self, window: Window, to_read: dict[str, Any]) -> list[Write] | None:
        """The writes of documents that have to be read; None when one reply could not hold them all."""
        window.read, window.read_time = list(to_read), ZERO
        if not to_read:
            return []
        found = self._lookup.by_ids(list(to_read.values()), window.time)
        if not found.complete and len(window.events) > 1:
            return None
        window.read_time = found.time
        writes: list[Write] = []
        for ident, document_id in to_read.items():
            document, last = found.documents.get(ident), last_of(window.by_document[ident])
            if document is None and ident.startswith(RAW) and last["operationType"] != "delete":
                # A name that stands twice comes out of MongoDB's pipelines as another one: nobody can look for it.
                writes += self._dead(ident, last, ProjectionError("odd_id", f"`_id` {ODD_ID}"))
            elif document is None:
                deleted = last["operationType"] == "delete"
                writes += self._plan.drops(ident, document_id, deleted=deleted)
            else:
                writes += self._plan.puts(ident, document, found.time, last)
        return writes


def first_of(changes: Changes) -> Document:
    """The earliest change."""
    return changes[0] if isinstance(changes, list) else changes


def last_of(changes: Changes) -> Document:
    """The latest change."""
    return changes[-1] if isinstance(changes, list) else changes
