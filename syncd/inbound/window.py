"""Some consecutive changes of a stream, coalesced to one state a document.

A window is what one atomic call applies, together with the position behind its last change. Coalescing never reaches
across windows: a crash leaves either all of a window or nothing of it, so no key can show a state that the stored
position has not reached, except through reads, and those are in the mark (see floors).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from syncd.inbound.floors import Floors, Verdict
from syncd.inbound.lookup import Lookup
from syncd.plan.change import Delta, Write
from syncd.plan.compile import Plan
from syncd.plan.keys import encode_key_value
from syncd.stores.mongo import Document
from syncd.stores.times import ZERO, Moment, token_time

DATA_OPS = frozenset({"insert", "update", "replace", "delete"})


class Touched:
    """What the changes of a window say of one document: it is gone, or whole, or changed, or has to be read."""

    __slots__ = ("deltas", "document", "event", "gone", "id", "read")

    def __init__(self, document_id: Any) -> None:
        self.id = document_id
        self.event: Document = {}
        self.document: Document | None = None
        self.deltas: list[Delta] = []
        self.gone = False
        self.read = False


@dataclass(slots=True)
class Window:
    """Consecutive events of one stream. `build` may be called again when the floors have moved."""

    events: list[Document]
    token: Document
    time: Moment
    must_read: set[str] = field(default_factory=set)
    """Documents whose delta Redis refused, because the key was not there."""
    direct: dict[str, Document] = field(default_factory=dict)
    """Documents that the last build took from the events themselves, with their first event."""
    read: list[str] = field(default_factory=list)
    """Documents that the last build read, as of `read_time`."""
    read_time: Moment = ZERO
    floors_version: int = -1


class WindowBuilder:
    """Turns windows of one contract into writes."""

    def __init__(self, plan: Plan, lookup: Lookup, floors: Floors) -> None:
        self._plan, self._lookup, self._floors = plan, lookup, floors
        self.deltas_allowed = True
        """False while a snapshot runs over keys that may be older than the stream."""

    def build(self, window: Window) -> list[Write] | None:
        """The writes of a window, or None when its documents are too big to be read at once: split it then."""
        window.floors_version = self._floors.version
        window.direct.clear()
        touched = self._coalesce(window)
        to_read = {ident: t for ident, t in touched.items() if t.read or ident in window.must_read}
        window.read, window.read_time = list(to_read), ZERO
        documents: Mapping[str, Document] = {}
        if to_read:
            found = self._lookup.by_ids([t.id for t in to_read.values()], window.time)
            if not found.complete and len(window.events) > 1:
                return None
            documents, window.read_time = found.documents, found.time
        self._floors.touch(touched, max(window.time, window.read_time))
        writes: list[Write] = []
        for ident, t in touched.items():
            if ident in to_read:
                t.document, t.deltas, t.gone = documents.get(ident), [], ident not in documents
            done = self._writes(
                ident, t, window.read_time if ident in to_read else token_time(t.event["_id"])
            )
            if done is None:
                window.must_read.add(ident)
                return self.build(window)
            writes += done
        return writes

    def is_stale(self, window: Window) -> bool:
        """Whether a read was confirmed since the last build that covers a change taken from the events."""
        if window.floors_version == self._floors.version:
            return False
        verdict = self._floors.verdict
        return any(
            verdict(ident, token_time(event["_id"])) is not Verdict.APPLY
            for ident, event in window.direct.items()
        )

    def _coalesce(self, window: Window) -> dict[str, Touched]:
        touched: dict[str, Touched] = {}
        direct, verdict = window.direct, self._floors.verdict
        # Mostly no read covers any of these changes: then there is nothing to ask event by event.
        clear = self._floors.is_clear(token_time(window.events[0]["_id"])) if window.events else True
        for event in window.events:
            op = event["operationType"]
            if op not in DATA_OPS:
                continue
            document_id = event["documentKey"]["_id"]
            ident = encode_key_value(document_id)
            what = Verdict.APPLY if clear else verdict(ident, token_time(event["_id"]))
            if what is Verdict.SKIP:
                continue
            t = touched.get(ident)
            if t is None:
                t = touched[ident] = Touched(document_id)
                direct[ident] = event
            t.event = event
            if what is Verdict.READ:
                t.read = True
            elif not t.read:
                self._note(t, op, event)
        return touched

    def _note(self, t: Touched, op: str, event: Document) -> None:
        if op == "delete":
            t.gone, t.document, t.deltas = True, None, []
        elif self._plan.filter is not None:
            t.read = True  # only MongoDB can say whether it matches
        elif op == "update":
            delta = self._delta(event) if self.deltas_allowed and not t.gone else None
            if delta is None:
                t.read = True
            else:
                t.deltas.append(delta)
        else:
            t.gone, t.document, t.deltas = False, event.get("fullDocument"), []
            t.read = t.document is None

    def _delta(self, event: Document) -> Delta | None:
        description = event.get("updateDescription")
        return self._plan.delta(description) if description is not None and self._plan.patchable else None

    def _writes(self, ident: str, t: Touched, time: Moment) -> list[Write] | None:
        """The writes of one document; None when it has to be read after all."""
        if t.gone:
            return self._plan.drops(ident, t.id, deleted=t.event["operationType"] == "delete")
        if t.document is None:
            return self._plan.patches(ident, t.id, t.deltas)
        whole = self._plan.puts(ident, t.document, time, t.event)
        return self._plan.patched(whole, t.deltas) if t.deltas else whole
