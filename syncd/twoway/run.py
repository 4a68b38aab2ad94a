"""One run of a lane that goes both ways: the stream marks keys, the merger brings keys and documents together.

The stream's side is that of any contract from MongoDB, with marks for writes. The merger has a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from syncd import telemetry
from syncd.inbound.run import LaneRun
from syncd.inbound.snapshot import Ghosts
from syncd.inbound.sources import Source
from syncd.inbound.units import GhostsUnit, Unit
from syncd.inbound.window import DATA_OPS, Window, WindowBuilder
from syncd.plan.change import Drop, Write
from syncd.plan.keys import encode_key_value
from syncd.plan.twoway import TwoWayPlan
from syncd.stores.lookup import Lookup
from syncd.stores.position import Position
from syncd.twoway.capture import Capture, Taken, Word
from syncd.twoway.documents import DocumentWriter
from syncd.twoway.merger import Merger, Outcome
from syncd.twoway.status import TwoWayStatus
from syncd.twoway.store import TwoWayStore
from syncd.writebehind.memory import Memory
from syncd.writebehind.session import ContractSession

MOST_MARKS = 1000
MOST_MARKED = 20_000
"""Above this the stream waits for the merger, so that marks do not grow with a backlog."""
WAIT_S = 0.05
EVERY_S = 1.0


class MarkBuilder(WindowBuilder):
    """Turns windows into marks. Nothing is read, so nothing can be stale."""

    def build(self, window: Window) -> list[Write] | None:
        """A mark for each document, with the time of its last change."""
        window.floors_version = self._floors.version
        window.by_document, window.read = {}, []
        for event in window.events:
            if event["operationType"] in DATA_OPS:
                window.by_document[encode_key_value(event["documentKey"]["_id"])] = event
        self._floors.touch(window.by_document, window.time)
        plan: Any = self._plan
        return [
            plan.mark(ident, event["documentKey"]["_id"], round(event.get("wallTime") or 0))
            for ident, event in window.by_document.items()
            if isinstance(event, dict)
        ]

    def is_stale(self, window: Window) -> bool:
        """Never."""
        return False


class _MarksUnit(GhostsUnit):
    """Keys that the sweep found without a document: somebody has to look at them."""

    def _writes(self) -> list[Write]:
        plan: Any = self._plan
        drops = (drop for drop in self._drops if isinstance(drop, Drop))
        return [plan.mark(drop.ident, plan.state.document_id((drop.key or "").encode())) for drop in drops]

    def __init__(self, plan: TwoWayPlan, ghosts: Ghosts, floors: Any) -> None:
        super().__init__(ghosts, floors)
        self._plan = plan


class TwoWayRun(LaneRun):
    """Moves changes of both sides while the lease lasts. Used once, by one thread and the merger's."""

    _plan: TwoWayPlan
    _status: TwoWayStatus

    def __init__(
        self, *common: Any, thin: bool, number: int, make_capture: Callable[[TwoWayStore], Capture]
    ) -> None:
        super().__init__(*common, thin=thin)
        self._number, self._make_capture = number, make_capture
        self._halt, self._rung = threading.Event(), threading.Event()
        self._merging: Source | None = None

    def run(self) -> None:
        """Work until told to stop, or until either thread meets an error."""
        try:
            super().run()
        finally:
            self._halt.set()
            if self._merging is not None:
                self._merging.join()  # the next run has a merger of its own

    def _build(self, position: Position) -> None:
        super()._build(position)
        self._builder = MarkBuilder(self._plan, self._lookup, self._floors)

    def _start(self) -> None:
        # What was agreed on with another collection says nothing of this one.
        Memory(self._redis, self._plan.state, self._lease).begin()
        store = TwoWayStore(self._redis, self._plan, self._lease)
        names = "both", self._plan.name, self._settings.site, self._plan.contract.mongo.collection
        session = ContractSession(self._mongo, *names)
        writer = DocumentWriter(self._mongo, self._plan, session, self._settings.site, self._number)
        writer.begin()
        capture = self._make_capture(store)
        capture.begin()
        super()._start()
        lookup = Lookup(self._mongo, self._plan.documents)
        merger = Merger(
            self._plan,
            store,
            lookup,
            self._floors,
            writer,
            capture,
            self._settings.batch_writes,
            self._number,
        )
        self._merging = Source(
            f"{self._plan.name}-merge", _Merging(self, merger, store, writer, capture).items(), self._inbox
        )
        self._sources.append(self._merging)
        self._merging.start()

    def _step(self) -> None:
        if self._status.marked > MOST_MARKED and self._merging is not None and self._merging.is_alive():
            self._look_around()
            time.sleep(WAIT_S)
            return
        super()._step()

    def _handle(self, item: Any) -> None:
        if not isinstance(item, Ghosts):
            super()._handle(item)
            return
        # Keys of another template may hold what MongoDB has not: they stay.
        for at in range(0, len(item.drops), self._settings.batch_writes):
            part = item.drops[at : at + self._settings.batch_writes]
            self._pipeline.apply(_MarksUnit(self._plan, Ghosts(part, item.time), self._floors))

    def _seen(self, unit: Unit) -> None:
        super()._seen(unit)
        self._status.marked += unit.size
        self._rung.set()


class _Merging:
    """The merger's thread."""

    def __init__(
        self, run: TwoWayRun, merger: Merger, store: TwoWayStore, writer: DocumentWriter, capture: Capture
    ) -> None:
        self._run, self._merger, self._store = run, merger, store
        self._writer, self._capture = writer, capture
        self._plan, self._status = run._plan, run._status
        self._kept = 0.0
        self._left = True

    def items(self) -> Iterator[Any]:
        """Works until told to stop; there are no items."""
        while not self._run._halt.is_set():
            if time.monotonic() - self._kept >= EVERY_S:
                self._keep()
            asked = self._status.asked
            is_rung = self._run._rung.is_set()
            self._run._rung.clear()
            marked = self._store.oldest_marks(MOST_MARKS) if is_rung or self._left else []
            taken = self._capture.take(0.0 if marked else WAIT_S)
            self._apply(taken, marked)
            if asked and len(marked) < MOST_MARKS and not self._capture.behind:
                self._status.drained = True
        yield from ()

    def _apply(self, taken: Taken, marked: list[bytes]) -> None:
        words = dict.fromkeys(marked, Word()) | taken.words
        if not words and not taken.refused:
            return
        began = time.monotonic()
        try:
            outcome = self._merger.apply(words)
            outcome.refused |= taken.refused
            self._finish(outcome, taken, began)
        except BaseException:
            self._capture.put_back(taken)
            raise

    def _finish(self, outcome: Outcome, taken: Taken, began: float) -> None:
        parked = self._store.done(outcome.settled, outcome.refused, taken.keep_from)
        self._capture.forget(outcome.settled)
        self._left = self._merger.marks_left > 0
        self._status.marked = self._merger.marks_left
        self._status.conflicts += len(outcome.conflicts)
        self._run.progressed = True
        telemetry.BATCH.labels(self._plan.name).observe(time.monotonic() - began)
        telemetry.merged(self._plan.name, len(taken.words), outcome.counts, parked)
        for key, said in outcome.conflicts:
            where = key.decode(errors="backslashreplace")
            telemetry.conflict(self._plan.name, where, said.why, said.winner, sorted(said.fields))

    def _keep(self) -> None:
        self._kept = time.monotonic()
        self._run._lease.renew()
        self._writer.keep()
        self._capture.keep()
        marked, first = self._store.count_marks()
        self._left = self._left or marked > 0
        self._status.looked(self._capture.backlog(), marked, first)
