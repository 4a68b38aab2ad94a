"""One run of a lane: from the lease to the first error, or until it is asked to stop.

Everything that matters is in Redis: a run begins by reading the position and can end anywhere.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from syncd import telemetry
from syncd.errors import CollectionGoneError
from syncd.lanes.events import (
    CaughtUp,
    Confirm,
    Confirmed,
    Copied,
    CopyAsked,
    Entered,
    LargeChangePassed,
    SweepBegan,
)
from syncd.plan.to_redis.change import Write
from syncd.stores.mongo.last_change import Quiet
from syncd.stores.mongo.reads.differing import Differing
from syncd.stores.mongo.reads.joined import lookup_of
from syncd.stores.mongo.sharding import require_same_key
from syncd.stores.mongo.store import Document, translated
from syncd.stores.mongo.times import Moment, token_time
from syncd.stores.redis.records.keys.digests import Digests, can_be_kept
from syncd.stores.redis.records.levels import are_level, have_replayed
from syncd.stores.redis.records.position import (
    ADOPT,
    DIGEST,
    SNAPSHOT,
    STREAM,
    SWEEP,
    Position,
    allowed,
)
from syncd.stores.redis.records.positions import load_position
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.calls.fan_out import writer_of
from syncd.to_redis.apply.calls.operations import Operations
from syncd.to_redis.apply.digests import DigestKeeper
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.apply.units import Replayed, Step, Unit, WindowUnit
from syncd.to_redis.change_feeds import ChangeFeeds
from syncd.to_redis.context import RunContext, StreamContext
from syncd.to_redis.copy.beginning import beginning, going_on, is_fresh, reason_of, removed_entries
from syncd.to_redis.copy.copier import Chunk, Copier, Cut, RangeEnd, Reads, Ready
from syncd.to_redis.copy.foreign_keys import ForeignKeys
from syncd.to_redis.copy.snapshot import NextPhase, SnapshotReader
from syncd.to_redis.copy.survey import Orphans
from syncd.to_redis.copy.units import units_of
from syncd.to_redis.housekeeping import Housekeeper
from syncd.to_redis.indexes.indexes import Indexes
from syncd.to_redis.joins.refresher import JoinedStreams, Refresher
from syncd.to_redis.sources import Failure, Source
from syncd.to_redis.stream.change_stream import Batch, ChangeStream, is_drained
from syncd.to_redis.stream.lane_stream import LaneStream
from syncd.to_redis.stream.numbering import Numbering
from syncd.to_redis.stream.window import DATA_OPS, Window
from syncd.to_redis.target import Target

HELD_UP_S = 0.05
"""How long a run waits for the work beside it, at a time."""
_STRUCTURE = frozenset({"drop", "rename", "dropDatabase", "invalidate"})


class LaneRun:
    """Moves one contract's changes while the lease lasts. Used once, by one thread.

    What happens is reported to the lane's state, which says when the lane is live, and when the run is over.
    """

    def __init__(self, context: StreamContext, target: Target) -> None:
        self._context, self._plan, self._control = context, context.plan, context.control
        self._target = target
        self._mongo, self._redis, self._lease = context.mongo, context.redis, context.lease
        self._settings, self._status, self._state = context.settings, context.status, context.state
        self._hub, self._lookup = context.hub, lookup_of(self._mongo, self._plan, self._control.partition)
        self._indexes = Indexes(self._plan, self._redis, self._control)
        self._digests = Digests(self._redis, self._control)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._sources: list[Source] = []
        self._beside: Source | None = None
        self._stream: LaneStream | None = None
        self._writer = writer_of(self._redis, self._control, self._lease)
        self._foreign_keys = ForeignKeys(self._plan, self._redis, self._control, self._lease)
        self._feeds = ChangeFeeds(self._plan, self._redis, self._control, self._lease)
        self._removals = telemetry.Removals(self._plan.name)
        self._takes_fields = self._state.now.takes_fields
        self._joined = JoinedStreams(context, thin=not self._takes_fields)
        self._snapshot_started = 0.0

    def run(self) -> None:
        """Work until the lane is asked to stop (then everything is committed), the run is over, or an error ends it."""
        try:
            self._target.begin()
            self._start()
            while not self._context.is_over:
                self._step()
            self._finish()
        finally:
            self._target.end()
            for source in self._sources:
                source.close()
            if self._stream is not None:
                self._stream.close()
            if self._beside is not None:
                self._beside.join()  # the next run has one of its own
            self._writer.close()
            self._removals.log(now=True)

    def wake(self) -> None:
        """Make a run that waits see at once that it is to end. Called by another thread."""
        self._inbox.put((None, None))

    def _start(self) -> None:
        self._feeds.check()
        self._joined.require()
        position = load_position(self._redis, self._control)
        self._status.known(position)
        self._note_foreign_keys(position)
        self._indexes.create()
        self._status.searched(self._indexes.as_dicts(), self._indexes.complaint)
        stream = ChangeStream(self._mongo, self._plan, self._control.partition, thin=not self._takes_fields)
        level = not self._by_digests or are_level(self._redis, self._control)
        replayed = position.token is None or have_replayed(self._redis, self._control)
        fresh = is_fresh(self._plan, position, level=level) or bool(self._feeds.lost) or not replayed
        deployment = self._hub.history.deployment()
        old, begins = position, list[Write]()
        if fresh:
            first, goes_on = self._first(position, stream)
            # A contract that never had digests, and has none, need not name a thousand keys that are not there.
            had_any = self._by_digests or position.token is not None
            position = beginning(
                self._plan, position, first, deployment, by_digests=self._by_digests and level
            )
            position.joined = self._joined.begin()
            # Nothing is read from before a stream that reports what changes.
            position.read_watermark = max(position.read_watermark, position.joined.time)
            if position.phase == SNAPSHOT and had_any:
                self._digests.forget()
            if goes_on:
                position = going_on(position, old)
            else:
                begins = [*self._feeds.begin(old, first.time)]
            begins += self._feeds.begin_matched()
        else:
            assert position.token is not None
            self._require(position, stream, position.event)
            first = stream.resume(position.token, max(position.time, position.read_watermark))
            self._joined.resume(position)
            position.deployment = deployment
        self._build(position)
        if fresh:
            # Before any document is read: what changes from here on is in the stream.
            self._pipeline.apply(Replayed(begins))
            self._pipeline.drain()
        self._builder.filling = self._feeds.filling
        self._numbering = Numbering(position.event, position.nth)
        why = reason_of(self._plan, old, position.phase, fresh=fresh, level=level, replayed=replayed)
        self._enter(position, why)
        # The filter of a partition is its own stream's.
        hub = self._hub if self._control.partition.is_whole and self._takes_fields else None
        self._stream = LaneStream(
            self._run, stream, position.event, hub, self._inbox,
            None if fresh or self._mongo.is_sharded else Quiet(self._mongo, *self._plan.namespace),
            lambda event: self._require(self._pipeline.confirmed, stream, event),
        )  # fmt: skip
        # What a person asked for meanwhile comes first: a lane may be here because its dead letters are too many.
        self._between_items()
        self._fetch("stream", self._stream.items(first))
        for items in self._joined.items():
            self._fetch("joined", items)
        if (work := self._target.beside(self._log)) is not None:
            self._beside = self._fetch("merge", work)

    def _first(self, position: Position, stream: ChangeStream) -> tuple[Batch, bool]:
        """Where the stream beside a copy begins: now, for the copy shows what was before. A change feed needs all
        changes: then where it stood, if that is known, which the second value says."""
        stood = position.token or position.resume
        if stood is None or not self._plan.feeds:
            return stream.begin(), False
        self._require(position, stream, position.event)
        return stream.resume(stood, max(position.time, position.read_watermark)), True

    def _note_foreign_keys(self, position: Position) -> None:
        """Before anything is written, note the keys that are there already."""
        sync = self._plan.contract.sync
        if (
            sync.adopt or position.next == allowed(ADOPT, self._plan.fingerprint)
        ) and self._foreign_keys.adopt():
            # They go with the sweep of a copy.
            position.token = None
            position.next = allowed(ADOPT, self._plan.fingerprint)
        self._foreign_keys.note(position.owned, self._context.halt)

    def _build(self, position: Position) -> None:
        log: ApplyLog[Unit, Operations] = ApplyLog(position, several=len(self._lease.parts) > 1)
        builder = self._target.builder(self._lookup, log.watermarks)
        self._log, self._builder = log, builder
        self._run = RunContext(self._context, log, self._lookup, builder, self._indexes, self._foreign_keys)
        keeper = DigestKeeper(self._digests, self._lookup, log.watermarks) if self._by_digests else None
        self._keeper = keeper
        self._pipeline = Pipeline(
            self._plan, self._control, self._writer, log, self._settings.batch_writes, self._seen,
            self._removals, keeper.noted if keeper else None,
        )  # fmt: skip
        self._house = Housekeeper(self._run, self._pipeline, keeper, self._fetch)
        self._refresher = Refresher(self._run, self._pipeline)

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

    def _enter(self, position: Position, reason: str) -> None:
        phase = position.phase
        self._state.tell(
            Entered(phase in (SNAPSHOT, DIGEST), phase == SWEEP, position.read_watermark, reason)
        )
        if phase != STREAM:
            self._snapshot_started = time.monotonic()
            telemetry.snapshot_started(self._plan.name, self._estimate(), position.copied, reason)
            self._fetch("snapshot", self._reader().items(position))

    def _reader(self) -> SnapshotReader:
        watermarks = self._run.watermarks
        reads = Reads(watermarks)
        # What workers make are writes of keys; entries of a feed are the lane's.
        pool = None if self._plan.feeds_copies else self._context.pool
        copier = Copier(
            self._plan, self._mongo, self._lookup, self._control.partition, watermarks, reads, pool,
            self._settings.chunk_documents, digests=self._by_digests,
        )  # fmt: skip
        differing = self._differing if self._by_digests else None
        return SnapshotReader(self._run, reads, copier, differing, self._estimate)

    def _differing(self, after: Moment) -> Differing:
        return Differing(self._mongo, self._plan, self._lookup, self._digests, after)

    def _estimate(self) -> int:
        database, collection = self._plan.namespace
        with translated():
            whole = self._mongo.client[database][collection].estimated_document_count()
        return whole // self._control.partition.count

    def _fetch(self, what: str, items: Iterator[Any]) -> Source:
        source = Source(f"{self._plan.name}-{what}", items, self._inbox)
        self._sources.append(source)
        source.start()
        return source

    def _step(self) -> None:
        """Handle one item; without one, drain what is in flight and wait for the next."""
        self._lease.hold()
        if self._is_held_up:
            self._between_items()
            time.sleep(HELD_UP_S)
            return
        refreshes = self._refresher.work()
        try:
            source, item = self._inbox.get_nowait()
        except queue.Empty:
            if not refreshes or self._house.due:
                self._between_items()
            if refreshes:
                return
            try:
                source, item = self._inbox.get(timeout=1.0)
            except queue.Empty:
                return
        if source is None or self._refresher.takes(source, item):
            return
        if not self._house.takes(item):
            self._handle(item)
        source.done()
        if self._house.due:
            self._between_items()

    @property
    def _is_held_up(self) -> bool:
        """Whether the work beside has to get on first. Where it has ended, the inbox says why."""
        return self._beside is not None and self._beside.is_alive() and self._target.is_full

    def _between_items(self) -> None:
        self._pipeline.drain()
        self._writer.rest()
        self._status.confirmed(self._pipeline.confirmed, self._writer.stored)
        self._count_dead_letters()
        self._removals.log()
        if self._house.due and self._house.keep():
            self._state.tell(CopyAsked())

    def _handle(self, item: Any) -> None:
        if isinstance(item, Batch):
            self._take_batch(item)
        elif isinstance(item, Chunk | Ready | Cut | RangeEnd | Orphans):
            for unit in units_of(self._builder, item, self._log, lambda: self._pipeline.documents):
                self._pipeline.apply(unit)
                if not isinstance(item, Orphans):
                    self._state.progressed()
            telemetry.snapshot_progress(self._plan.name, self._pipeline.position.copied)
        elif isinstance(item, NextPhase):
            self._next_phase(item.phase)
        elif isinstance(item, Failure):
            self._finish()  # what is on its way is logged, and counted, before the run ends
            raise item.error
        self._count_dead_letters()

    def _count_dead_letters(self) -> None:
        """At the event: the status must not show it a quarter of a minute later."""
        telemetry.values_did_not_fit(self._plan.name, self._plan.misfits.taken().items())
        if self._pipeline.dead_letters_changed:
            self._pipeline.dead_letters_changed = False
            self._house.count_dead_letters()

    def _take_batch(self, batch: Batch) -> None:
        events = self._numbering.number(batch.events) if self._plan.feeds else batch.events
        require_same_key(self._mongo, self._plan.contract.mongo.unique, events)
        at = 0
        while at < len(events):
            part = events[at : at + self._pipeline.documents]
            gone = next((n for n, event in enumerate(part) if event["operationType"] in _STRUCTURE), None)
            if gone == 0:
                # What came before is applied first: under `keep` and `pause` nothing would ever bring it again.
                self._pipeline.drain()
                raise CollectionGoneError(part[0]["operationType"])
            part = part[:gone]
            at += len(part)
            last = part[-1]["_id"]
            token, time_of = (batch.token, batch.time) if at == len(events) else (last, token_time(last))
            self._pipeline.apply(WindowUnit(Window(part, token, time_of, batch.ahead), self._builder))
            self._state.progressed()
        if events and not self._takes_fields:
            self._state.tell(LargeChangePassed())
        if not events:
            self._pipeline.drain()
            # Nothing to write: the position moves in memory, and is stored with the next write or after a while.
            self._log.idle(batch.token, batch.time)
            self._status.heard()
        drained = is_drained(batch)
        if not events and drained and self._refresher.is_done:
            self._status.fresh_now(batch.held_back_s)
            if self._keeper is not None:
                self._keeper.drained(batch.reached)
        reached = self._refresher.reached(batch.reached) if drained else None
        if reached is not None and Confirm() in self._state.tell(CaughtUp(reached)).actions:
            self._pipeline.drain()
            self._lease.confirm()  # it may have gone while the stream was opened
            self._state.tell(Confirmed())

    def _seen(self, unit: Unit) -> None:
        self._target.applied(unit.size)
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
            self._lease.require_still()
            if removed := removed_entries(self._plan, self._pipeline.position.owned):
                self._pipeline.drain()
                self._lease.forget_removed(removed)
            self._pipeline.apply(Step(phase=phase, left={}, owned=self._plan.owned, next=SWEEP))
            self._pipeline.drain()
            seconds = time.monotonic() - self._snapshot_started
            copied, swept = self._pipeline.position.copied, self._pipeline.swept
            telemetry.snapshot_finished(self._plan.name, copied, seconds, swept)
            self._state.tell(Copied(self._pipeline.position.read_watermark))
            return
        self._pipeline.apply(Step(phase=phase))
        if phase == SWEEP:
            self._state.tell(SweepBegan())

    def _finish(self) -> None:
        """Commit what is done, exactly: an unfinished snapshot stays unfinished."""
        self._pipeline.drain()
        self._pipeline.apply(Step())
        self._pipeline.drain()
        self._status.confirmed(self._pipeline.confirmed, self._writer.stored)
