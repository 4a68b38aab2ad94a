"""One run of a lane: from the lease to the first error, or until it is told to stop.

Everything that matters is in Redis: a run begins by reading the position and can end anywhere.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from syncd import telemetry
from syncd.errors import CollectionGoneError
from syncd.executors.pool import Pool
from syncd.inbound.apply_log import ApplyLog
from syncd.inbound.copier import Chunk, Copier, Cut, RangeEnd, Reads, Ready
from syncd.inbound.copies import units_of
from syncd.inbound.digests import DigestKeeper
from syncd.inbound.feed import Feed
from syncd.inbound.housekeeping import Housekeeper
from syncd.inbound.hub import StreamHub
from syncd.inbound.index import Indexes
from syncd.inbound.operations import Operations
from syncd.inbound.pipeline import Pipeline
from syncd.inbound.snapshot import Ghosts, NextPhase, SnapshotReader, beginning
from syncd.inbound.sources import Failure, Source
from syncd.inbound.status import LaneStatus
from syncd.inbound.strangers import Strangers
from syncd.inbound.stream import MAX_EVENTS, Batch, ChangeStream
from syncd.inbound.units import Step, Unit, WindowUnit
from syncd.inbound.window import DATA_OPS, Window, WindowBuilder
from syncd.inbound.writer import Writer
from syncd.plan.compile import Plan
from syncd.plan.types import redis_type
from syncd.settings import Settings
from syncd.stores.differing import Differing
from syncd.stores.digests import Digests, can_be_kept
from syncd.stores.lease import Lease
from syncd.stores.lookup import Lookup
from syncd.stores.mongo import Document, MongoStore, translated
from syncd.stores.position import (
    ADOPT,
    SNAPSHOT,
    STREAM,
    SWEEP,
    ControlKeys,
    Position,
    allowed,
    load_position,
)
from syncd.stores.quiet import Quiet
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard
from syncd.stores.times import Moment, token_time

DRAINED_LAG_S = 2.0
"""A stream that never pauses counts as caught up when its last change is no older than this."""
_STRUCTURE = frozenset({"drop", "rename", "dropDatabase", "invalidate"})


class LaneRun:
    """Moves one contract's changes while the lease lasts. Used once, by one thread.

    `thin`: take the stream without the fields of documents, until a change has passed that is larger than an event
    may be.
    """

    def __init__(
        self,
        plan: Plan,
        mongo: MongoStore,
        redis: RedisStore,
        lease: Lease,
        settings: Settings,
        status: LaneStatus,
        stop: threading.Event,
        hub: StreamHub,
        requests: RequestBoard,
        control: ControlKeys,
        pool: Pool | None,
        *,
        thin: bool,
    ) -> None:
        self._plan, self._mongo, self._redis = plan, mongo, redis
        self._lease, self._settings, self._status, self._stop = lease, settings, status, stop
        self._hub, self._requests, self._control, self._pool = hub, requests, control, pool
        self._lookup = Lookup(mongo, plan, control.partition)
        self._indexes = Indexes(plan, redis, self._control)
        self._digests = Digests(redis, control)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._sources: list[Source] = []
        self._feed: Feed | None = None
        self._writer = Writer(redis, self._control, lease)
        self._strangers = Strangers(plan, redis, control, lease)
        self._removals = telemetry.Removals(plan.name)
        self._thin = thin
        self._again = False
        self._snapshot_started = 0.0
        self.progressed = False
        """Whether this run moved the position at all."""
        self.was_live = False

    def run(self) -> None:
        """Work until `stop` is set (then everything is committed) or an error ends the run."""
        try:
            self._start()
            while not (self._stop.is_set() or self._again):
                self._step()
            self._finish()
        finally:
            for source in self._sources:
                source.close()
            if self._feed is not None:
                self._feed.close()
            self._writer.close()
            self._removals.tell(now=True)

    def wake(self) -> None:
        """Make a run that waits look at `stop` at once. Called by another thread."""
        self._inbox.put((None, None))

    def _start(self) -> None:
        position = load_position(self._redis, self._control)
        self._status.known(position)
        self._look_at_strangers(position)
        self._indexes.create()
        self._status.searched(self._indexes.as_dicts(), self._indexes.complaint)
        stream = ChangeStream(self._mongo, self._plan, self._control.partition, thin=self._thin)
        fresh = position.token is None or position.fingerprint != self._plan.fingerprint
        reason = "no position" if position.token is None else "the contract changed" if fresh else "going on"
        deployment = self._hub.history.deployment()
        if fresh:
            first = stream.begin()
            # A contract that never had digests, and has none, need not name a thousand keys that are not there.
            had_any = self._by_digests or position.token is not None
            position = beginning(self._plan, position, first, deployment, by_digests=self._by_digests)
            if position.phase == SNAPSHOT and had_any:
                self._digests.forget()
            elif position.phase != SNAPSHOT:
                reason = "the position is lost, and digests say what differs"
        else:
            assert position.token is not None
            self._require(position, stream, position.event)
            first = stream.resume(position.token, max(position.time, position.mark))
            position.deployment = deployment
        self._build(position)
        if fresh:
            # Before any document is read: what changes from here on is in the stream.
            self._pipeline.apply(Step())
            self._pipeline.drain()
        if position.phase != STREAM:
            self._start_snapshot(position, reason)
        else:
            self._status.enter("catching_up", reason=reason)
        # The filter of a partition is its own stream's.
        hub = self._hub if self._control.partition.is_whole and not self._thin else None
        quiet = None if fresh else Quiet(self._mongo, *self._plan.namespace)
        self._feed = Feed(
            self._plan, stream, position.event, self._watermarks, self._status, hub, self._inbox, quiet,
            lambda event: self._require(self._pipeline.confirmed, stream, event),
        )  # fmt: skip
        # What a person asked for meanwhile comes first: a lane may be here because its dead letters are too many.
        self._look_around()
        self._fetch("stream", self._feed.items(first))

    def _look_at_strangers(self, position: Position) -> None:
        """Before anything is written: whose are the keys that are there?"""
        sync = self._plan.contract.sync
        if (
            sync.adopt or position.next == allowed(ADOPT, self._plan.fingerprint)
        ) and self._strangers.adopt():
            # They go with the sweep of a copy.
            position.token = None
            position.next = allowed(ADOPT, self._plan.fingerprint)
        self._strangers.note(position.owned, self._stop)

    def _build(self, position: Position) -> None:
        log: ApplyLog[Unit, Operations] = ApplyLog(position)
        self._log = log
        watermarks = self._watermarks = log.watermarks
        keeper = DigestKeeper(self._digests, self._lookup, watermarks) if self._by_digests else None
        self._keeper = keeper
        self._builder = WindowBuilder(self._plan, self._lookup, watermarks)
        self._pipeline = Pipeline(
            self._plan, self._control, self._writer, log, self._settings.batch_writes, self._seen,
            self._removals, keeper.noted if keeper else None,
        )  # fmt: skip
        self._live_at = position.mark
        self._house = Housekeeper(
            self._plan, self._mongo, self._redis, self._pipeline, self._indexes, self._status,
            self._lookup, watermarks, self._requests, self._control, keeper, self._hub.history,
        )  # fmt: skip

    @property
    def _by_digests(self) -> bool:
        return self._plan.source is not None and can_be_kept(self._control.partition)

    def _require(self, position: Position, stream: ChangeStream, event: Document | None) -> None:
        """That MongoDB is the one of the position, with its history. `event`: token of the last change. Raises
        PositionLostError."""
        time_of = None if event is None else token_time(event)
        is_sure = self._hub.history.require(position.deployment, position.witness, time_of)
        if not is_sure and event is not None:
            stream.require(event)

    def _start_snapshot(self, position: Position, reason: str) -> None:
        # Keys of a projection that changed its type hold the old type until their document comes by.
        self._writer.also = ",".join(sorted({redis_type(kind) for _, _, kind in position.owned}))
        reads = Reads(self._watermarks)
        copier = Copier(
            self._plan, self._mongo, self._lookup, self._control.partition, self._watermarks, reads, self._pool,
            self._settings.chunk_documents, digests=self._by_digests,
        )  # fmt: skip
        reader = SnapshotReader(
            self._plan, self._lookup, reads, copier, self._redis, self._control, self._indexes,
            self._differing if self._by_digests else None, self._strangers, self._estimate,
        )  # fmt: skip
        self._snapshot_started = time.monotonic()
        self._status.enter("snapshot", reason=reason)
        telemetry.snapshot_started(self._plan.name, self._estimate(), position.copied, reason)
        self._fetch("snapshot", reader.items(position))

    def _differing(self, after: Moment) -> Differing:
        return Differing(self._mongo, self._plan, self._lookup, self._digests, after)

    def _estimate(self) -> int:
        database, collection = self._plan.namespace
        with translated():
            whole = self._mongo.client[database][collection].estimated_document_count()
        return whole // self._control.partition.count

    def _fetch(self, what: str, items: Iterator[Any]) -> None:
        source = Source(f"{self._plan.name}-{what}", items, self._inbox)
        self._sources.append(source)
        source.start()

    def _step(self) -> None:
        """Handle one item; without one, drain what is in flight and wait for the next."""
        self._lease.hold()
        try:
            source, item = self._inbox.get_nowait()
        except queue.Empty:
            self._look_around()
            try:
                source, item = self._inbox.get(timeout=1.0)
            except queue.Empty:
                return
        if source is None:
            return
        self._handle(item)
        source.done()
        if self._house.due:
            self._look_around()

    def _look_around(self) -> None:
        self._pipeline.drain()
        self._writer.rest()
        self._status.confirmed(self._pipeline.confirmed)
        self._count_letters()
        self._removals.tell()
        if self._house.due:
            self._again = self._house.keep() or self._again

    def _handle(self, item: Any) -> None:
        if isinstance(item, Batch):
            self._take_batch(item)
        elif isinstance(item, Chunk | Ready | Cut | RangeEnd | Ghosts):
            for unit in units_of(self._plan, item, self._log, lambda: self._documents_a_call):
                self._pipeline.apply(unit)
                self.progressed = self.progressed or not isinstance(item, Ghosts)
            telemetry.snapshot_progress(self._plan.name, self._pipeline.position.copied)
        elif isinstance(item, NextPhase):
            self._next_phase(item.phase)
        elif isinstance(item, Failure):
            self._pipeline.drain()  # what is on its way is told, and counted, before the run ends
            raise item.error
        self._count_letters()

    def _count_letters(self) -> None:
        """At the event: a person who looks at the page must not hear of it a quarter of a minute later."""
        telemetry.values_did_not_fit(self._plan.name, self._plan.misfits.taken().items())
        if self._pipeline.letters_changed:
            self._pipeline.letters_changed = False
            self._house.count_dead_letters()

    @property
    def _documents_a_call(self) -> int:
        return max(1, self._pipeline.writes // len(self._plan.shapes))

    def _take_batch(self, batch: Batch) -> None:
        events, at = batch.events, 0
        while at < len(events):
            part = events[at : at + self._documents_a_call]
            gone = next((n for n, event in enumerate(part) if event["operationType"] in _STRUCTURE), None)
            if gone == 0:
                # What came before is applied first: under `keep` and `pause` nothing would ever bring it again.
                self._pipeline.drain()
                raise CollectionGoneError(part[0]["operationType"])
            part = part[:gone]
            at += len(part)
            last = part[-1]["_id"]
            whole = at == len(events)
            window = Window(part, batch.token if whole else last, batch.time if whole else token_time(last))
            self._pipeline.apply(WindowUnit(window, self._builder))
            self.progressed = True
        if events and self._thin:
            self._again = True  # past the large change: back to events with their fields
        if not events:
            self._pipeline.drain()
            # Nothing to write: the position moves in memory, and is stored with the next write or after a while.
            self._log.idle(batch.token, batch.time)
        drained = batch.is_proof if not events else self._is_at_the_end(events)
        if not events:
            self._status.heard()
        if not events and drained:
            self._status.fresh_now()
            if self._keeper is not None:
                self._keeper.drained(batch.reached)
        if drained and self._status.state == "catching_up" and batch.reached >= self._live_at:
            self._pipeline.drain()
            self._lease.confirm()  # it may have gone while the stream was opened
            self._status.enter("live")
        self.was_live = self.was_live or self._status.state == "live"

    def _is_at_the_end(self, events: list[Document]) -> bool:
        lag = self._status.lag()
        return len(events) < MAX_EVENTS and lag is not None and lag < DRAINED_LAG_S

    def _seen(self, unit: Unit) -> None:
        if not isinstance(unit, WindowUnit):
            return
        events = unit.window.events
        for op, count in Counter(event["operationType"] for event in events).items():
            telemetry.CHANGES.labels(self._plan.name, op if op in DATA_OPS else "other").inc(count)
            if op not in DATA_OPS:
                telemetry.change_unknown(self._plan.name, op, count)
        self._status.took(events)

    def _next_phase(self, phase: str) -> None:
        if phase == STREAM:
            self._pipeline.apply(Step(phase=phase, left={}, owned=self._plan.owned, next=SWEEP))
            self._pipeline.drain()
            self._writer.also = ""
            self._live_at = self._pipeline.position.mark
            seconds = time.monotonic() - self._snapshot_started
            telemetry.snapshot_finished(
                self._plan.name, self._pipeline.position.copied, seconds, self._pipeline.swept
            )
            self._status.enter("catching_up", reason="snapshot finished")
        else:
            self._pipeline.apply(Step(phase=phase))

    def _finish(self) -> None:
        """Commit what is done, exactly: an unfinished snapshot stays unfinished."""
        self._pipeline.drain()
        self._pipeline.apply(Step())
        self._pipeline.drain()
        self._status.confirmed(self._pipeline.confirmed)
