"""One run of `capture: append`: entries of a stream into documents, until it is stopped or a store fails.

An entry is acknowledged only when a majority of MongoDB has its document, or its dead letter is stored. Until then it
stays with the group, and comes again after every failure. While one batch is delivered, the next is read.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

from syncd import telemetry
from syncd.lanes.context import LaneContext
from syncd.lanes.events import Confirmed, Entered
from syncd.lanes.waiting_dead_letters import WaitingDeadLetters
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.redis.records.dead_letters import drop_dead_letters, replays_done, requested_replays
from syncd.stores.redis.records.layout import survey_nodes
from syncd.stores.redis.records.lost.dead_letters import restore_dead_letters
from syncd.stores.redis.records.requests.lane_requests import snapshot_begins, wants_snapshot
from syncd.stores.redis.records.requests.repairs import repairs_done, requested_repairs, split_repairs
from syncd.to_mongo.append.batch import BatchOutcome, Delivery, EntryBatch, Refused, make_batch
from syncd.to_mongo.append.collection_delivery import PlainDelivery
from syncd.to_mongo.append.dead_letters import DeadLetters
from syncd.to_mongo.append.delivery_workers import Delivered, DeliveryWorkers
from syncd.to_mongo.append.group import Entries, Group
from syncd.to_mongo.append.reader import Reader
from syncd.to_mongo.append.series.series_delivery import SeriesDelivery
from syncd.to_mongo.append.status import AppendStatus
from syncd.to_mongo.append.stream_history import entry_order
from syncd.to_mongo.append.target import make_series

MOST_ENTRIES = 4000
FIRST_ENTRIES = 64
FEWEST_BESIDE = 1000
"""Smaller batches wait for all before them: then documents and dead letters come in the order of the stream."""
MOST_BYTES = 4 * 1024 * 1024
"""Of one batch, by the size of the entries before: Redis cannot be asked for so many bytes."""
EVERY_S = 1.0
MOST_REPLAYED = 256


class AppendRun:
    """Called by the lane's thread alone."""

    def __init__(self, context: LaneContext[AppendPlan, AppendStatus], group: Group) -> None:
        """Its lease is taken where only one daemon may write."""
        self._plan, self._mongo, self._redis = context.plan, context.mongo, context.redis
        self._group, self._lease, self._control = group, context.lease, context.control
        self._status, self._state = context.status, context.state
        self._requests, self._context = context.requests, context
        self._dead_letters = DeadLetters(context.redis, context.plan)
        self._idle_s, self._site = context.settings.lease_ttl, context.settings.site
        self._count = FIRST_ENTRIES
        self._kept = self._claimed = 0.0
        self._waiting = WaitingDeadLetters(context.redis, context.plan.name)
        self._delivery: Delivery
        self._workers: DeliveryWorkers

    def run(self) -> None:
        """First what is left of before, then what comes, until stopped."""
        self._delivery = self._choose()
        if restored := restore_dead_letters(self._redis, self._control):
            telemetry.dead_letters_restored(self._plan.name, restored)
        if (start := self._group.ensure()) is not None:
            telemetry.group_lost(self._plan.name, self._plan.stream, start)
        self._state.tell(Entered())
        if (left := self._delivery.begin()) is not None:
            self._report(*left)
        workers = DeliveryWorkers(self._plan.name, self._delivery.deliver, self._delivery.at_once)
        with workers as self._workers, Reader(self._redis, self._group) as reader:
            if self._requests.has_any(self._control):
                self._answer()  # a replay makes room for the dead letters of what is left, where these are full
            self._dead_letters.restore(self._once_more)
            self._take_over("")
            self._keep()
            self._state.tell(Confirmed())
            while not self._context.is_over or reader.is_asked:
                self._step(reader)
            self._drain()

    def _choose(self) -> Delivery:
        """A time series has one daemon that writes, an ordinary collection any number."""
        time_field = make_series(self._mongo, self._plan)
        if time_field is None:
            return PlainDelivery(self._plan, self._mongo, self._redis, self._group)
        self._lease.acquire()
        stores = self._mongo, self._redis
        return SeriesDelivery(self._plan, *stores, self._group, self._lease, time_field, self._site)

    def _step(self, reader: Reader) -> None:
        if not reader.is_asked:
            reader.ask(self._count)
        taken = reader.take()
        self._trimmed(taken.trimmed)
        entries = taken.entries
        if not entries and not self._context.is_over:
            self._drain()
            entries = self._group.wait(self._count)
        if entries and not self._context.is_over:
            reader.ask(self._count)
        self._send(entries)
        if time.monotonic() - self._kept >= EVERY_S:
            self._keep()

    def _keep(self) -> None:
        """What is due once a second."""
        now = self._kept = time.monotonic()
        self._delivery.keep()
        if now - self._claimed >= self._idle_s / 2:
            self._claimed = now
            self._adopt()
            self._status.nodes = survey_nodes(self._redis, self._control)
        if self._requests.has_any(self._control):
            self._answer()
        telemetry.values_did_not_fit(self._plan.name, self._plan.misfits.taken().items())
        if self._dead_letters.are_fewer():
            self._dead_letters.restore(self._once_more)
        self._status.counted(self._group.backlog(), self._waiting.count())
        self._group.check_history()
        self._status.heard()

    def _adopt(self) -> None:
        """Entries of consumers that are dead, or have said nothing for long. Where we are alone, of all the others."""
        alone = self._delivery.alone
        for consumer, left, dead in self._group.other_consumers():
            if left and (dead or alone):
                self._take_over(consumer)
            if dead:
                self._group.remove(consumer)
        while not alone and not self._context.is_over:
            taken = self._group.claim(self._count, self._idle_s)
            self._trimmed(taken.trimmed)
            if not taken.entries:
                return
            self._apply(taken.entries)

    def _take_over(self, consumer: str) -> None:
        """All that a consumer has taken and not acknowledged. A dead one is read in its name: nothing changes hands."""
        self._drain()
        after = "0-0"
        while entries := self._group.pending(self._count, after, consumer):
            after = entries.ids[-1]
            there, gone = entries.parted()
            self._trimmed(self._group.acknowledge(gone))
            self._apply(there)

    def _trimmed(self, count: int) -> None:
        if count:
            telemetry.entries_trimmed(self._plan.name, self._plan.stream, count)

    def _apply(self, entries: Entries) -> None:
        """Deliver, and wait for it."""
        self._send(entries)
        self._drain()

    def _send(self, entries: Entries) -> None:
        """Convert while batches before are delivered; then it is this one's turn."""
        self._status.heard()
        if entries:
            batch = make_batch(self._plan, entries)
            self._measure(entries)
            is_large = len(entries) >= FEWEST_BESIDE
            self._turn(self._workers.room() if is_large else self._workers.drain(), batch)
            self._workers.send(batch)
            self._delivery.meanwhile()

    def _drain(self) -> None:
        """Wait for what is on its way."""
        self._turn(self._workers.drain(), None)

    def _turn(self, delivered: Iterator[Delivered], following: EntryBatch | None) -> None:
        for done in delivered:
            telemetry.BATCH.labels(self._plan.name).observe(done.seconds)
            if done.outcome is not None:
                self._report(done.batch, done.outcome)
        if (ended := self._delivery.turn(following)) is not None:
            self._report(*ended)

    def _report(self, batch: EntryBatch, outcome: BatchOutcome) -> None:
        self._trimmed(batch.gone)
        put = len(batch.entries) - batch.gone - len(outcome.refused) - outcome.repeated
        telemetry.appended(self._plan.name, len(batch.entries), put, outcome.repeated, outcome.parked)
        self._status.took(len(batch.entries))
        if outcome.parked:
            self._status.dead_letters_counted(self._waiting.count())
        self._state.progressed()

    def _measure(self, entries: Entries) -> None:
        fit = MOST_BYTES * len(entries) // max(1, entries.size())
        self._count = max(1, min(fit, 2 * self._count, MOST_ENTRIES))

    def _answer(self) -> None:
        """What people have asked for."""
        if wants_snapshot(self._redis, self._control):
            snapshot_begins(self._redis, self._control)
            telemetry.nothing_to_copy(self._plan.name)
        self._repair()
        if dead_letters := requested_replays(self._redis, self._plan.name, MOST_REPLAYED):
            self._replay({ident: one for one, ident in dead_letters.items() if ident})
            replays_done(self._redis, self._plan.name, list(dead_letters))
            telemetry.replayed(self._plan.name, len(dead_letters))

    def _repair(self) -> None:
        """Entries of which a check found no document, once more. A time series takes no entry twice, nor late."""
        if not (wanted := requested_repairs(self._redis, self._plan.name)):
            return
        if not self._delivery.alone:
            self._drain()
            entries = [entry for _, entry in split_repairs(wanted)[1]]
            there, _ = self._group.look_up(sorted(entries, key=entry_order)).parted()
            outcome = (
                self._delivery.deliver_alone(make_batch(self._plan, there)) if there else BatchOutcome({})
            )
            telemetry.appended(self._plan.name, 0, 0, outcome.repeated, outcome.parked)
            telemetry.repairs_applied(self._plan.name, len(wanted))
        repairs_done(self._redis, self._plan.name, wanted)

    def _replay(self, dead_letters: dict[str, str]) -> None:
        """Dead letters by entry. One that still does not fit stays, with the reason of now."""
        left = self._once_more(dead_letters)
        done = [one for entry, one in dead_letters.items() if entry not in left]
        drop_dead_letters(self._redis, self._plan.name, done)

    def _once_more(self, entries: Collection[str]) -> Collection[str]:
        """Deliver entries that had dead letters. Returns those that have them again."""
        self._drain()
        there, gone = self._group.look_up(sorted(entries, key=entry_order)).parted()
        outcome = BatchOutcome({})
        if there:
            outcome = self._delivery.deliver_alone(make_batch(self._plan, there))
        why = Refused("entry_trimmed", "the entry is no longer in the stream; nothing can be replayed")
        parked = self._dead_letters.park(dict.fromkeys(gone, why))
        left = {*outcome.refused, *gone}
        put = len(entries) - len(left) - outcome.repeated
        telemetry.appended(self._plan.name, 0, put, outcome.repeated, outcome.parked + parked)
        return left
