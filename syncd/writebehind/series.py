"""Delivery into a time series, which takes the same document twice: each batch is written under a number of its own.

A batch is noted in Redis before it is written (see ledger), and written under the contract's session (see session).
After a crash the same statements go again under the same number, and MongoDB runs those that it has not run.

That rests on two memories. MongoDB forgets a session after half an hour, and a Redis may come back without its last
writes. Where one of them is not to be had, each document is looked up before it is written, with a word.
"""

from __future__ import annotations

from syncd import telemetry
from syncd.errors import UncertainError
from syncd.plan.append import AppendPlan
from syncd.stores.lease import Lease
from syncd.stores.mongo import MongoStore
from syncd.stores.redis import RedisStore
from syncd.writebehind.batch import Batch, Outcome, make_batch
from syncd.writebehind.group import Group, entry_order
from syncd.writebehind.ledger import Ledger, Noted
from syncd.writebehind.series_writer import SeriesWriter

MARGIN_S = 120.0
"""Before MongoDB forgets a session: its own clock, and the way there."""


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
        """`site`: tells this Redis from others that have a contract of the same name."""
        self._plan, self._group, self._lease = plan, group, lease
        self._ledger = Ledger(redis, plan, lease)
        self._writer = SeriesWriter(mongo, plan, time_field, site)
        self._doubt = (0, 0)
        """Up to here documents may be there that nobody remembers."""

    def begin(self) -> tuple[Batch, Outcome] | None:
        """Finish the batch that is noted."""
        lost = self._group.was_lost
        doubt, news = self._ledger.doubt(self._group.newest(), group_lost=lost, group_new=self._group.is_new)
        self._doubt = entry_order(doubt)
        if news:
            telemetry.append_uncertain(
                self._plan.name, "group_lost" if lost else "redis_restarted", None, doubt
            )
        noted = self._ledger.noted()
        return None if noted is None else self._finish(noted)

    def _finish(self, noted: Noted) -> tuple[Batch, Outcome]:
        batch = make_batch(self._plan, self._group.look_up(noted.entries))
        if self._is_doubtful(batch):
            return batch, self.deliver(batch)
        if noted.age_s > self._writer.memory_s() - MARGIN_S:
            return batch, self._deliver_uncertain(batch, "session_expired")
        try:
            return batch, self._write(noted.number, batch)
        except UncertainError:
            return batch, self._deliver_uncertain(batch, "history_truncated")

    def _deliver_uncertain(self, batch: Batch, why: str) -> Outcome:
        last = max(batch.entries, key=entry_order)
        telemetry.append_uncertain(self._plan.name, why, len(batch.entries), last)
        self._ledger.set_doubt(last)
        self._doubt = entry_order(last)
        return self.deliver(batch)

    def _is_doubtful(self, batch: Batch) -> bool:
        return entry_order(batch.entries[0]) <= self._doubt

    def deliver(self, batch: Batch) -> Outcome:
        """Note, write, and close the batch, which acknowledges its entries."""
        if not self._is_doubtful(batch):
            return self._write(self._ledger.note(batch.entries), batch)
        # What is on its way from a daemon before must not arrive between the look and the write.
        self._writer.fence(self._ledger.note(batch.entries))
        there = {batch.entries[at] for at in self._writer.there(batch.documents, batch.places)}
        rest = batch.without(there)
        if not rest.entries:
            self._ledger.close(there, {})
            return Outcome({}, len(there))
        outcome = self._write(self._ledger.note(rest.entries, there), rest)
        outcome.repeated += len(there)
        return outcome

    def _write(self, number: int, batch: Batch) -> Outcome:
        refused, repeated = self._writer.write(number, batch.documents, batch.places)
        outcome = Outcome(batch.refused | {batch.entries[at]: why for at, why in refused.items()}, repeated)
        done = [entry for entry in batch.entries if entry not in outcome.refused]
        outcome.parked = self._ledger.close(done, outcome.refused)
        return outcome

    def keep(self) -> None:
        """Hold on to the lease, and to the session."""
        self._lease.renew()
        self._writer.keep()
