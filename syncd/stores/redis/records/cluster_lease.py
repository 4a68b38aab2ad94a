"""The right to write for one lane on all nodes of a cluster: a lease on each, the home's first.

Who has the home's lease may take the others. With them come the records: where the map of slots is another one than
last time, what belongs to keys goes to the nodes that have these now, and a node that is new begins as far as all are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from syncd import telemetry
from syncd.errors import StoreError
from syncd.plan.claims import Claims
from syncd.stores.redis.cluster import ClusterStore, NodeStore
from syncd.stores.redis.records.lease import Lease, Renewer
from syncd.stores.redis.records.node_records import NodeRecords
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.slots import SlotMap

NO_MAP = SlotMap((), (), ())


class ClusterLease(Lease):
    """A lease whose own record is the home's, with one on each further node."""

    _store: ClusterStore

    def __init__(
        self,
        store: ClusterStore,
        keys: ControlKeys,
        owner: str,
        ttl_s: float,
        claims: Claims,
        renewer: Renewer | None = None,
    ) -> None:
        super().__init__(store, keys, owner, ttl_s, claims, renewer)
        self._ttl_s = ttl_s
        self._others: list[Lease] = []
        self.map = NO_MAP
        """The one under which it was taken."""
        self._seen: ClusterStore = store

    @property
    def parts(self) -> Sequence[Lease]:
        """That on each node, the home's first."""
        return (self, *self._others)

    @property
    def store(self) -> ClusterStore:
        """As it was then. Another lane that sees another map must not take this one's nodes away."""
        return self._seen

    @property
    def nodes(self) -> Sequence[NodeStore]:
        """Those of that map."""
        return self._seen.nodes

    def acquire(self) -> int:
        """Take the lease on every node, and bring the records to where the slots are."""
        store = self._store
        self._others = []
        seen = store.seen()
        self.map, self._seen = seen.map, store.as_seen(seen)
        try:
            before = super().acquire()
            store.register(seen)
            records = NodeRecords(self._keys, seen)
            records.seed()
            for node in self.nodes[1:]:
                self._take(node)
            olds = [self._fence(place) for place in records.left]
            records.arrange(self.parts, self._claims, olds)
            if records.slots_moved:
                telemetry.slots_moved(self.contract, len(self.nodes))
        except BaseException:
            self._let_go()
            raise
        return before

    def require_still(self) -> None:
        """That all slots are where they were, and none is on its way."""
        self._store.require_still(self.map.digest)

    def _of(self, node: NodeStore, renewer: Renewer | None) -> Lease:
        return Lease(node, self._keys.at(node.place), self._owner, self._ttl_s, self._claims, renewer)

    def _take(self, node: NodeStore) -> None:
        lease = self._of(node, self._renewer)
        lease.acquire()
        self._others.append(lease)

    def _fence(self, place: str) -> Lease:
        """A daemon that worked under the map of before may have its lease at a place that is no node's any more."""
        node = self.nodes[self.map.node_of(place)]
        lease = self._of(NodeStore(node.client, node.node, place), None)
        lease.acquire()
        return lease

    def _let_go(self) -> None:
        with contextlib.suppress(StoreError):
            self.release()

    def hold(self) -> None:
        """A sign of life for all. Raises FencedError where one was lost."""
        super().hold()
        for other in self._others:
            other.hold()

    def touch(self) -> None:
        """The same of any thread that calls a function."""
        super().touch()
        for other in self._others:
            other.touch()

    def confirm(self) -> None:
        """Ask every node whether it is still held."""
        super().confirm()
        for other in self._others:
            other.confirm()

    def rest(self) -> None:
        """Hold none any longer."""
        super().rest()
        for other in self._others:
            other.rest()

    def release(self) -> None:
        """Give all back, the home's last: who takes that one finds the others free."""
        self.rest()
        for other in self._others:
            with contextlib.suppress(StoreError):
                other.release()
        if self.value:
            super().release()

    def forget_position(self, then: str, *, resumes: bool = False) -> None:
        """On every node."""
        super().forget_position(then, resumes=resumes)
        for other in self._others:
            other.forget_position(then, resumes=resumes)

    def allow_removal(self) -> None:
        """On every node."""
        super().allow_removal()
        for other in self._others:
            other.allow_removal()
