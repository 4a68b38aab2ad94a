"""Delivery into a time series, which takes the same document twice: each batch is written under a number of its own.

A batch is noted in Redis before it is written (see ledger), and written under the contract's session (see session).
After a crash the same statements go again under the same number, and MongoDB runs those that it has not run.

That rests on two memories. MongoDB forgets a session after half an hour, and a Redis may come back without its last
writes. Where one of them is not to be had, each document is looked up before it is written, with a warning.
"""

from __future__ import annotations

from typing import NamedTuple

from syncd import telemetry
from syncd.errors import LaterNumberError, UncertainError
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.batch import BatchOutcome, EntryBatch, Refused, make_batch
from syncd.to_mongo.append.group import Group
from syncd.to_mongo.append.series.ledger import Noted
from syncd.to_mongo.append.series.node_ledger import ledger_of
from syncd.to_mongo.append.series.series_writer import SeriesWriter
from syncd.to_mongo.append.stream_history import entry_order

MARGIN_S = 120.0
"""Before MongoDB forgets a session: its own clock, and the way there."""


class SeriesWritten(NamedTuple):
    """A batch that MongoDB has, and Redis does not know it yet."""

    batch: EntryBatch
    outcome: BatchOutcome
    done: list[str] | None
    """Entries that are to be acknowledged; None for all that are noted."""

    @property
    def ends(self) -> tuple[list[str] | None, dict[str, Refused]]:
        """What is to be acknowledged, and what is to be parked."""
        return self.done, self.outcome.refused


class SeriesDelivery:
    """See Delivery. One daemon at a time: it holds the lease."""

    alone = True
    at_once = 1

    def __init__(
        self,
        plan: AppendPlan,
        mongo: MongoStore,
        redis: RedisStore,
        group: Group,
        lease: Lease,
        time_field: str,
        site: str,
    ) -> None:
        """`site`: names this Redis among others that have a contract of the same name."""
        self._plan, self._group, self._lease = plan, group, lease
        self._ledger = ledger_of(redis, plan, lease)
        self._writer = SeriesWriter(mongo, plan, time_field, site)
        self._doubt = (0, 0)
        """Up to here documents may be there that Redis no longer knows."""
        self._number = 0
        """Of the batch that is noted."""
        self._written: SeriesWritten | None = None
        self._owes = False
        """Whether a batch that has ended is not acknowledged."""

    def begin(self) -> tuple[EntryBatch, BatchOutcome] | None:
        """Finish the batch that is noted."""
        self._ledger.acknowledge()
        lost = self._group.was_lost
        doubt, news = self._ledger.doubt(self._group.newest(), group_lost=lost, group_new=self._group.is_new)
        self._doubt = entry_order(doubt)
        if news:
            telemetry.append_uncertain(
                self._plan.name, "group_lost" if lost else "redis_restarted", None, doubt
            )
        noted = self._ledger.noted()
        if noted is None:
            return None
        # Its dead letters are stored in any case: until it has ended, nothing that makes room for them is done.
        keep, self._ledger.keep_dead_letters = (
            self._ledger.keep_dead_letters,
            min(0, self._ledger.keep_dead_letters),
        )
        try:
            return self._finish(noted)
        finally:
            self._ledger.keep_dead_letters = keep

    def _finish(self, noted: Noted) -> tuple[EntryBatch, BatchOutcome]:
        batch = make_batch(self._plan, self._group.look_up(noted.entries))
        if self._is_doubtful(batch):
            return batch, self.deliver_alone(batch)
        if noted.age_s > self._writer.memory_s() - MARGIN_S:
            return batch, self._deliver_uncertain(batch, "session_expired")
        try:
            self._written = self._write(noted.number, batch)
        except UncertainError:
            return batch, self._deliver_uncertain(batch, "history_truncated")
        except LaterNumberError as error:
            # The lease is ours, so no other daemon has taken over: it is this Redis that went back.
            self._ledger.above(error.seen)
            return batch, self._deliver_uncertain(batch, "redis_went_back")
        return self._end()

    def _deliver_uncertain(self, batch: EntryBatch, why: str) -> BatchOutcome:
        last = max(batch.entries, key=entry_order)
        telemetry.append_uncertain(self._plan.name, why, len(batch.entries), last)
        self._ledger.set_doubt(last)
        self._doubt = entry_order(last)
        return self.deliver_alone(batch)

    def _is_doubtful(self, batch: EntryBatch) -> bool:
        return entry_order(batch.entries[0]) <= self._doubt

    def turn(self, following: EntryBatch | None) -> tuple[EntryBatch, BatchOutcome] | None:
        """End the batch that is written, which acknowledges its entries, and note the following: both in one step."""
        if following is None:
            return None if self._written is None else self._end()
        done, refused = ((), {}) if self._written is None else self._written.ends
        self._number, parked = self._ledger.turn(following.entries, done, refused)
        self._owes = done is None
        return self._ended(parked)

    def meanwhile(self) -> None:
        """Acknowledge the entries of the batch that has ended: MongoDB need not wait for that."""
        if self._owes:
            self._ledger.acknowledge()
            self._owes = False

    def _end(self) -> tuple[EntryBatch, BatchOutcome]:
        assert self._written is not None
        ended = self._ended(self._ledger.close(*self._written.ends))
        assert ended is not None
        return ended

    def _ended(self, parked: int) -> tuple[EntryBatch, BatchOutcome] | None:
        written, self._written = self._written, None
        if written is None:
            return None
        written.outcome.parked = parked
        return written.batch, written.outcome

    def deliver(self, batch: EntryBatch) -> None:
        """Write the batch that is noted."""
        deliver = self._write_the_rest if self._is_doubtful(batch) else self._write
        self._written = deliver(self._number, batch)

    def deliver_alone(self, batch: EntryBatch) -> BatchOutcome:
        """Note, write, and end it."""
        self.turn(batch)
        if self._ledger.is_split:
            self._written = self._write_the_rest(self._number, batch)
        else:
            self.deliver(batch)
        return self._end()[1]

    def _write_the_rest(self, number: int, batch: EntryBatch) -> SeriesWritten:
        # What is on its way from a daemon before must not arrive between the read and the write.
        self._writer.fence(number)
        there = {batch.entries[at] for at in self._writer.there(batch.documents, batch.places)}
        rest = batch.without(there)
        if not rest.entries:
            return SeriesWritten(batch, BatchOutcome({}, len(there)), None)
        # What is left has other places, so it needs another number.
        written = self._write(self._ledger.turn(rest.entries, there, {})[0], rest)
        written.outcome.repeated += len(there)
        return written._replace(batch=batch)

    def _write(self, number: int, batch: EntryBatch) -> SeriesWritten:
        refused, repeated = self._writer.write(number, batch.documents, batch.places)
        outcome = BatchOutcome(
            batch.refused | {batch.entries[at]: why for at, why in refused.items()}, repeated
        )
        if not outcome.refused:
            return SeriesWritten(batch, outcome, None)
        return SeriesWritten(
            batch, outcome, [entry for entry in batch.entries if entry not in outcome.refused]
        )

    def keep(self) -> None:
        """Say that the lane lives, and hold on to the session."""
        self._lease.hold()
        self._writer.keep()
