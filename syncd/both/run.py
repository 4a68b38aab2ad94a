"""One run of a lane that goes both ways: the stream marks keys, the merger brings keys and documents together.

The stream's side is that of any contract from MongoDB, with marks for writes. The merger has a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from syncd.both.capture import Capture
from syncd.both.document_writer import DocumentWriter
from syncd.both.merge_loop import WAIT_S, MergeLoop
from syncd.both.merger import MOST_MARKED, Merger
from syncd.both.newest import Newest
from syncd.both.status import TwoWayStatus
from syncd.both.store import TwoWayStore
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import Drop, Mark, Write
from syncd.stores.mongo.lookup import Lookup
from syncd.stores.redis.records.position import Position
from syncd.to_mongo.session import ContractSession
from syncd.to_mongo.state.memory import Memory
from syncd.to_redis.apply.units import Draft, Unit, UnitCall
from syncd.to_redis.apply.watermarks import Coverage, Watermarks
from syncd.to_redis.context import StreamContext
from syncd.to_redis.copy.snapshot import Ghosts
from syncd.to_redis.copy.units import GhostsUnit
from syncd.to_redis.run import LaneRun
from syncd.to_redis.sources import Source
from syncd.to_redis.stream.window import DATA_OPS, Window, WindowBuilder


class MarkBuilder(WindowBuilder):
    """Turns windows into marks. Nothing is read."""

    def build(self, window: Window, must_read: Collection[str] = ()) -> tuple[list[Write], Coverage] | None:
        """A mark for each document, with the time of its last change."""
        changes = {
            encode_key_value(event["documentKey"]["_id"]): event
            for event in window.events
            if event["operationType"] in DATA_OPS
        }
        plan: Any = self._plan
        marks = [
            (
                event,
                plan.mark_or_letter(
                    ident, event["documentKey"]["_id"], event, round(event.get("wallTime") or 0)
                ),
            )
            for ident, event in changes.items()
        ]
        writes = [
            mark for event, mark in marks if isinstance(mark, Mark) or event["operationType"] != "delete"
        ]
        return writes, Coverage(changes, window.time, passed=window.time)


class _MarksUnit(GhostsUnit):
    """Keys that the sweep found without a document: the merger has to read them."""

    def __init__(self, plan: TwoWayPlan, ghosts: Ghosts, watermarks: Watermarks) -> None:
        super().__init__(ghosts, watermarks)
        self._plan = plan

    def _draft(self, call: UnitCall) -> Draft:
        plan: Any = self._plan
        keys = ((drop.ident, (drop.key or "").encode()) for drop in self._drops if isinstance(drop, Drop))
        marks = [plan.mark(ident, plan.state.document_id(key)) for ident, key in keys if plan.state.owns(key)]
        return Draft(marks, self._covers)


class TwoWayRun(LaneRun):
    """Moves changes of both sides while the lease lasts. Used once, by one thread and the merger's."""

    _plan: TwoWayPlan
    _status: TwoWayStatus

    def __init__(
        self, context: StreamContext, number: int, make_capture: Callable[[TwoWayStore], Capture]
    ) -> None:
        super().__init__(context)
        self._number, self._make_capture = number, make_capture
        self._loop: MergeLoop | None = None
        self._merging: Source | None = None

    def run(self) -> None:
        """Work until told to stop, or until either thread meets an error."""
        try:
            super().run()
        finally:
            if self._loop is not None and self._merging is not None:
                self._loop.stop()
                self._merging.join()  # the next run has a merger of its own

    def _build(self, position: Position) -> None:
        super()._build(position)
        self._builder = MarkBuilder(self._plan, self._lookup, self._watermarks)

    def _start(self) -> None:
        # What was agreed on with another collection says nothing of this one.
        Memory(self._redis, self._plan.state, self._lease).begin()
        store = TwoWayStore(self._redis, self._plan, self._lease, self._settings.batch_writes)
        names = "both", self._plan.name, self._settings.site, self._plan.contract.mongo.collection
        session = ContractSession(self._mongo, *names)
        writer = DocumentWriter(self._mongo, self._plan, session, self._settings.site, self._number)
        writer.begin()
        capture = self._make_capture(store)
        capture.begin()
        super()._start()
        lookup = Lookup(self._mongo, self._plan.documents)
        newest = Newest(capture, lambda: self._pipeline.confirmed.time)
        merger = Merger(self._plan, store, lookup, self._watermarks, writer, capture, newest, self._number)
        self._loop = MergeLoop(
            self._plan, self._status, self._state, self._lease, merger, store, writer, capture
        )
        self._merging = Source(f"{self._plan.name}-merge", self._loop.items(), self._inbox)
        self._sources.append(self._merging)
        self._merging.start()

    def _step(self) -> None:
        is_merging = self._merging is not None and self._merging.is_alive()
        if is_merging and self._loop is not None and self._loop.marked > MOST_MARKED:
            self._look_around()
            time.sleep(WAIT_S)
            return
        super()._step()

    def _handle(self, item: Any) -> None:
        if not isinstance(item, Ghosts):
            super()._handle(item)
            return
        self._log.chunks_from(item.time)
        # Keys of another template may hold what MongoDB has not: they stay.
        for at in range(0, len(item.drops), self._settings.batch_writes):
            part = item.drops[at : at + self._settings.batch_writes]
            self._pipeline.apply(_MarksUnit(self._plan, Ghosts(part, item.time), self._watermarks))

    def _seen(self, unit: Unit) -> None:
        super()._seen(unit)
        if self._loop is not None:
            self._loop.ring(unit.size)
