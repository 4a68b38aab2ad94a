"""In a cluster: which keys of a contract that listens to their events have a dead letter, noted beside the keys.

Dead letters are at the home, and what was last synced of a key is on the node of the key. A failover of the home may
lose the dead letter; then nothing else says that MongoDB does not hold what the key does. So that node notes it behind
the dead letter, and before it remembers the key: what is noted and has no dead letter has lost it. The note goes along
when the slot moves, as all keys in `stale` do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial

from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.paging import paged
from syncd.stores.redis.key_states import by_node
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.lost.noted_entries import are_there
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import SCAN_COUNT, pages
from syncd.stores.redis.store import RedisStore, translated


class RefusedKeys:
    """Of one contract, whose lease is held."""

    def __init__(self, redis: RedisStore, plan: StatePlan, lease: Lease) -> None:
        self._redis, self._plan, self._lease = redis, plan, lease

    def note(self, keys: Collection[bytes]) -> None:
        """They have a dead letter."""
        self._tell("SADD", keys)

    def forget(self, keys: Collection[bytes]) -> None:
        """They have none any more."""
        self._tell("SREM", keys)

    def _tell(self, command: str, keys: Collection[bytes]) -> None:
        if not self._redis.place or not keys:
            return
        for _, some in by_node(self._redis, self._plan, list(keys)):
            part = self._lease.parts[self._redis.node_of(self._plan.key_of(some[0]))]
            for page in paged(some, SCAN_COUNT):
                part.call("syncd_carry", [], [2 + len(page), command, part.keys.stale, *page])

    def lost(self) -> Iterator[list[bytes]]:
        """Those without a dead letter, page by page."""
        for node in self._redis.nodes if self._redis.place else ():
            stale = ControlKeys(self._plan.name, place=node.place).stale
            for page in pages(partial(node.client.sscan, stale), count=SCAN_COUNT):
                keys = [key for key in page if self._plan.owns(key) or self._plan.has_key(key)]
                if found := self._without(keys):
                    yield found

    def _without(self, keys: Sequence[bytes]) -> list[bytes]:
        names = [b"%b %b" % (self._plan.projection.encode(), key) for key in keys]
        there = are_there(self._redis, self._plan.name, names)
        return [key for key, is_there in zip(keys, there, strict=True) if not is_there]


def forget_refused(store: RedisStore, contract: str, keys: Sequence[bytes]) -> None:
    """A person drops the dead letters of these keys."""
    for node in (
        store.nodes if keys else ()
    ):  # a sample is noted beside its series, and its name does not say where
        with translated():
            node.client.srem(ControlKeys(contract, place=node.place).stale, *keys)
