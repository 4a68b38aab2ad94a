"""Holds all leases of a daemon: one thread renews them, also while their lanes wait.

A lane may wait long for a store: a stream that begins far back, a find under a filter, an index that is built. Were it
to renew its own lease between two pieces of work, each such wait would have to be shorter than the lease.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from redis.exceptions import RedisError, ResponseError

from syncd import telemetry
from syncd.errors import FencedError, StoreError
from syncd.plan.claims import Claims
from syncd.stores.paging import paged
from syncd.stores.redis.cluster.nodes import ClusterStore
from syncd.stores.redis.records.cluster_lease import ClusterLease
from syncd.stores.redis.records.lease import SILENT_S, Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore

EVERY_S = 1.0
"""What listens to keyspace events takes the event of its lease, again and again, as the sign that any arrive."""
PARTS = 3
"""So often within its time to live a lease is renewed at least."""
MOST_AT_ONCE = 100
"""Of one pipeline: the application's commands wait behind it."""


class Leases:
    """Of one process. Thread-safe."""

    def __init__(self, store: RedisStore, owner: str, ttl_s: float) -> None:
        self._store, self.owner, self._ttl_s = store, owner, ttl_s
        self._quick = store.with_timeout(ttl_s / (2 * PARTS))
        self._held: dict[int, Lease] = {}
        self._looks_again = False
        """Whether a node of a cluster did not do what it was asked."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def of(self, keys: ControlKeys, claims: Claims) -> Lease:
        """The lease of one lane, not taken yet."""
        if isinstance(self._store, ClusterStore):
            return ClusterLease(self._store, keys, self.owner, self._ttl_s, claims, self)
        return Lease(self._store, keys, self.owner, self._ttl_s, claims, self)

    def add(self, lease: Lease) -> None:
        """Renew it from now on."""
        with self._lock:
            self._held[id(lease)] = lease
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        """Renew it no longer."""
        with self._lock:
            self._held.pop(id(lease), None)

    def close(self) -> None:
        """Renew none any more."""
        self._closed.set()
        self._quick.close()

    def _run(self) -> None:
        while not self._closed.wait(min(EVERY_S, self._ttl_s / PARTS)):
            with self._lock:
                leases = list(self._held.values())
            self._renew_all([lease for lease in leases if not self._is_silent(lease)])

    def _renew_all(self, leases: list[Lease]) -> None:
        by_place: dict[str, list[Lease]] = {}
        for lease in leases:
            by_place.setdefault(lease.keys.place, []).append(lease)
        for place, some in by_place.items():
            # What Redis cannot do now, it is asked again; the lanes meet the same error, and report it.
            with contextlib.suppress(RedisError, StoreError):
                node = self._node(place)
                done = [self._renew(node, page) for page in paged(some, MOST_AT_ONCE)]
                if all(done):
                    continue
            self._looks_again = True

    def _node(self, place: str) -> RedisStore:
        """Where a place is. In a cluster that changes, as an error says, or a place that is not known."""
        store, known = self._quick, [node for node in self._quick.places if node.place == place]
        if isinstance(store, ClusterStore) and (self._looks_again or not known):
            self._looks_again = False
            seen = store.refresh()
            if isinstance(self._store, ClusterStore):
                self._store.hang_up(seen)
            known = [node for node in store.places if node.place == place]
        return known[0] if known else store

    def _is_silent(self, lease: Lease) -> bool:
        silent = lease.silence()
        if silent < SILENT_S:
            return False
        self.remove(lease)
        lease.lose(FencedError(f"the lane of {lease.name} gave no sign of life; its lease ran out", ""))
        telemetry.lane_hangs(lease.contract, lease.name, silent)
        return True

    def _renew(self, node: RedisStore, leases: list[Lease]) -> bool:
        """Returns whether all were answered."""
        values = [lease.value for lease in leases]
        replies = self._ask(node, leases)
        if any(isinstance(one, ResponseError) and node.functions.is_missing(one) for one in replies):
            node.functions.prepare(node.client)
            replies = self._ask(node, leases)
        for lease, value, reply in zip(leases, values, replies, strict=True):
            if isinstance(reply, list) and not lease.renewed(value, reply):
                self.remove(lease)
        return all(isinstance(reply, list) for reply in replies)

    @staticmethod
    def _ask(node: RedisStore, leases: list[Lease]) -> list[Any]:
        with node.client.pipeline(transaction=False) as pipe:
            for lease in leases:
                pipe.execute_command(*lease.renewal())
            replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies
