"""Delivery into an ordinary collection: MongoDB refuses an `_id` the second time, so nothing else need be known."""

from __future__ import annotations

from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.batch import BatchOutcome, EntryBatch
from syncd.to_mongo.append.dead_letters import DeadLetters
from syncd.to_mongo.append.group import Group
from syncd.to_mongo.append.writer import Writer


class PlainDelivery:
    """See Delivery. Several daemons may work at once."""

    alone = False
    at_once = 3

    def __init__(self, plan: AppendPlan, mongo: MongoStore, redis: RedisStore, group: Group) -> None:
        self._group = group
        self._writer = Writer(mongo, plan)
        self._dead_letters = DeadLetters(redis, plan)

    def begin(self) -> tuple[EntryBatch, BatchOutcome] | None:
        """Nothing has to be known of before."""
        return None

    def turn(self, following: EntryBatch | None) -> None:
        """Batches know nothing of each other."""

    def meanwhile(self) -> None:
        """A batch is acknowledged as soon as it is written."""

    def deliver(self, batch: EntryBatch) -> BatchOutcome:
        """Write, then acknowledge. What cannot be written becomes a dead letter with its acknowledgement."""
        written = self._writer.write(batch.documents)
        refused = batch.refused | {
            batch.entries[batch.places[at]]: why for at, why in written.refused.items()
        }
        self._group.acknowledge([entry for entry in batch.entries if entry not in refused])
        return BatchOutcome(refused, len(written.repeated), self._dead_letters.park(refused))

    deliver_alone = deliver

    def keep(self) -> None:
        """Nothing runs out."""
