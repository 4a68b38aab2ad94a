"""The ledger in a cluster: on the node that has the stream, which notes a batch and acknowledges entries in one step.

Dead letters are at the home, and go there before that step: where a crash comes between, the batch is still noted, and
is written again under its number. Where the stream has gone to another node since, or its node has failed over, what is
remembered there is of no use, and entries are looked up before they are written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.redis.records.cluster_lease import ClusterLease
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.lost.noted_entries import NotedEntries
from syncd.stores.redis.records.position import Fields, read_fields
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.append.dead_letters import DeadLetters
from syncd.to_mongo.append.series.ledger import Ledger, Noted
from syncd.to_mongo.append.stream_history import entry_order

_GONE = Fields.BATCH, Fields.SINCE, Fields.SERVER, "written"


def ledger_of(store: RedisStore, plan: AppendPlan, lease: Lease) -> Ledger:
    """For a lane that holds this lease."""
    return NodeLedger(store, plan, lease) if isinstance(lease, ClusterLease) else Ledger(store, plan, lease)


class NodeLedger(Ledger):
    """See Ledger."""

    is_split = True

    def __init__(self, store: RedisStore, plan: AppendPlan, lease: ClusterLease) -> None:
        number = lease.map.node_of(plan.stream)
        super().__init__(lease.nodes[number], plan, lease.parts[number])
        self._all = lease
        self._dead_letters = DeadLetters(store, plan)
        self._noted = NotedEntries(store, plan.name, plan.stream)
        self._batch: list[str] = []
        """The entries that are noted now."""

    @property
    def _beside(self) -> list[str]:
        return [self._plan.stream, self._noted.key]

    def noted(self) -> Noted | None:
        """See Ledger."""
        found = super().noted()
        self._batch = [] if found is None else found.entries
        return found

    def acknowledge(self) -> None:
        """See Ledger."""
        args = [self._plan.name, self._plan.projection, *self._beside]
        self._call("syncd_written_on_node", self._more_keys[:2], args)

    def _advance(
        self, entries: list[str], done: Collection[str] | None, refused: Mapping[str, Refused]
    ) -> list[bytes]:
        written = self._batch if done is None else done
        new, gone, stored = self._dead_letters.park_ahead(
            refused, written, self.keep_dead_letters, self._all, self._noted
        )
        ended = ["all"] if done is None else [len(done) + len(refused), *done, *refused]
        args = [self._lease.ttl_ms, self._plan.name, self._plan.projection, self.keep_dead_letters, self._now]
        args += [" ".join(entries), *ended, *gone, len(gone), *new, len(new), *self._beside]
        number = self._stepped(self._call("syncd_advance_on_node", self._more_keys[:2], args), entries)
        self._batch = entries
        return [number, *stored]

    def _remembered(self) -> tuple[str, str]:
        """Also of the nodes that had the stream before, which forget what they say of it. One that has the stream again
        must not go on from there."""
        server, before = super()._remembered()
        for other, node in zip(self._all.parts, self._all.nodes, strict=True):
            if other is self._lease:
                continue
            names = Fields.SERVER, Fields.DOUBT, Fields.NUMBER
            had, doubt, number = read_fields(node, other.keys, *names)
            if number:
                self.above(int(number))
            if doubt and entry_order(doubt) > entry_order(before):
                before = doubt
                self._set({Fields.DOUBT: before})
            if had:
                command: list[Any] = ["HDEL", other.keys.position, *_GONE]
                other.call("syncd_carry", [], [len(command), *command])
        return server, before
