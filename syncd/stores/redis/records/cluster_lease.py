"""The right to write for one lane on all nodes of a cluster: a lease on each, the home's first.

Who has the home's lease may take the others. With them come the records: where the map of slots is another one than
last time, what belongs to keys goes to the nodes that have these now, and a node that is new begins as far as all are.
Of several partitions the first that notices does that for all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from syncd import telemetry
from syncd.errors import FencedError, PausedError, SlotMovedError, StoreError, TransientError
from syncd.plan.claims import KEYSPACE, MONGO, Claims
from syncd.stores.redis.cluster.nodes import HOME, ClusterStore, NodeStore
from syncd.stores.redis.cluster.slots import SlotMap, slot_of
from syncd.stores.redis.records.claims import CLAIMS, VERSION, contract_of, read_claims, wish_of
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.lease import Lease, Renewer
from syncd.stores.redis.records.node_records import MOVER, NodeRecords
from syncd.stores.redis.records.position import ControlKeys, Fields, read_fields
from syncd.stores.redis.store import RECENT_S, RedisStore, translated

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
        self._olds: list[Lease] = []
        """At places that are no node's any more, until their records are elsewhere."""
        self.map = NO_MAP
        """The one under which it was taken."""
        self._seen: ClusterStore = store
        self._is_first = True
        self._moving: frozenset[int] = frozenset()

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
            if self._is_first:
                self._bring_along()
            before = super().acquire()
            self._is_first = False
            store.register(seen)
            records = NodeRecords(self._keys, seen)
            moves = not records.are_arranged and not self._keys.partition.is_whole
            if moves:
                self.call("syncd_alone", [], [])  # none but one lane gets on from here
            records.seed()
            for node in self.nodes[1:]:
                self._others.append(self._take(node))
            for place in records.left:
                self._fence(place)
            for lease in (*self._others, *self._olds) if moves else ():
                lease.call("syncd_alone", [], [])
            records.arrange(self.parts, self._claims, self._olds)
            self._rest_olds()
            for lease in self.parts if moves else ():
                lease.call("syncd_carry", [], [3, "HDEL", lease.keys.layout, MOVER])
            if records.slots_moved:
                telemetry.slots_moved(self.contract, len(self.nodes))
        except BaseException:
            self._let_go()
            raise
        return before

    def _bring_along(self) -> None:
        """What this contract takes over goes to the nodes of its keys first, by its own leases: the functions take from
        one place to the same."""
        if taken := wish_of(self._seen, self.contract, self._claims).taken:
            claims = read_claims(self._seen)[1]
            for other in sorted({claims[name]["contract"] for name, _ in taken if name in claims}):
                bring_together(self._seen, other, self._owner, self._ttl_s, self._renewer)

    def require_still(self) -> None:
        """That all slots are where they were, and none is on its way."""
        self._store.require_still(self.map.digest)

    def require_placed(self, *, now: bool = False) -> None:
        """See Lease."""
        self._store.renew(0 if now else RECENT_S)
        self._moving = self._store.slots_moving
        if self._store.placed != self._seen.placed:
            raise SlotMovedError

    def is_moving(self, key: bytes) -> bool:
        """See Lease."""
        return slot_of(key) in self._moving

    def _take(self, node: NodeStore) -> Lease:
        lease = Lease(node, self._keys.at(node.place), self._owner, self._ttl_s, self._claims, self._renewer)
        lease.acquire()
        return lease

    def _fence(self, place: str) -> None:
        """A daemon that worked under the map of before may have its lease at a place that is no node's any more."""
        node = self.nodes[self.map.node_of(place)]
        self._olds.append(self._take(NodeStore(node.client, node.node, place)))

    def _rest_olds(self) -> None:
        while self._olds:
            self._olds.pop().rest()

    def _let_go(self) -> None:
        self._rest_olds()
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

    def forget_removed(self, entries: list[list[str]]) -> None:
        """On every node."""
        super().forget_removed(entries)
        for other in self._others:
            other.forget_removed(entries)

    def allow_removal(self) -> None:
        """On every node."""
        super().allow_removal()
        for other in self._others:
            other.allow_removal()


def bring_together(
    store: RedisStore, contract: str, owner: str, ttl_s: float, renewer: Renewer | None
) -> None:
    """Bring the records of a contract that no daemon works on to the nodes that have its keys now. One that runs does
    that itself. Raises TransientError where that must be done, and the contract is paused."""
    if not isinstance(store, ClusterStore):
        return
    parts = partitions_of(store, contract)
    said = {keys: read_fields(store, keys, Fields.KIND, Fields.VERSION, Fields.RELEASED) for keys in parts}
    keys = next((keys for keys, (kind, *_) in said.items() if kind in (MONGO, KEYSPACE)), None)
    if keys is None:
        return
    kind, version, released = said[keys]
    lease = ClusterLease(store, keys, owner, ttl_s, Claims(kind, version, ()), renewer)
    lease._is_first = False
    try:
        lease.acquire()
        _copy_claims(lease)
        lease.release()
        if not released:
            # As before: a daemon that did not stop in order may come again.
            for node in lease.nodes:
                node.client.hdel(keys.at(node.place).position, Fields.RELEASED)
    except FencedError:
        pass  # a daemon works on it, or has come meanwhile
    except PausedError as error:
        if not NodeRecords(keys, store.seen()).are_arranged:
            # Nothing else says which of its keys are an application's.
            what = f"slots have moved since a daemon worked on {contract}, and its records must go with them"
            raise TransientError("redis", f"{what}; the contract is {error}") from None
    finally:
        lease.rest()  # or it would be renewed on and on, and keep that daemon from the work


def _copy_claims(lease: ClusterLease) -> None:
    """A node that is new knows of no claims, and would take the keys for an application's."""
    with translated():
        known: Any = lease.nodes[0].client.hgetall(HOME + CLAIMS)
    own = {name: said for name, said in known.items() if contract_of(name, said) == lease.contract}
    for part, node in zip(lease.parts[1:], lease.nodes[1:], strict=True):
        name = node.place + CLAIMS
        with translated():
            there: Any = node.client.hmget(name, [VERSION, *own])
        new = [
            (claim, said) for (claim, said), one in zip(own.items(), there[1:], strict=True) if one is None
        ]
        if new:
            fields = [part for pair in new for part in pair]
            if there[0] is None:
                fields += [VERSION, known[VERSION]]
            part.call("syncd_carry", [], [2 + len(fields), "HSET", name, *fields])
