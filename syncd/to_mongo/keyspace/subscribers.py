"""A subscription a node, seen as one: each server of a cluster reports its own keys alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import is_

from syncd.errors import StoreError
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.keyspace.subscriber import Note, Subscriber

HINT = b""
"""Instead of an event that says nothing of what became of the key."""
_CERTAIN = b"expired", b"evicted"
"""No key goes so because its slot moves."""


def note_of(redis: RedisStore, number: int, note: Note) -> Note:
    """For events of one node. A key goes from a node also because its slot moves. So whether it was deleted, only the
    node says that has the slot."""
    if len(redis.nodes) == 1:
        return note
    return lambda key, event: note(key, event if event in _CERTAIN or redis.node_of(key) == number else HINT)


class Subscribers:
    """Of one contract: see Subscriber. What one of them lacks, all lack."""

    def __init__(self, redis: RedisStore, keys: ControlKeys, pattern: str, note: Note) -> None:
        self._placed, self._nodes = redis.placed, tuple(redis.nodes)
        self._parts = [
            Subscriber(node, keys.at(node.place), pattern, note_of(redis, number, note))
            for number, node in enumerate(redis.nodes)
        ]

    def are_at(self, redis: RedisStore) -> bool:
        """Whether they listen to its nodes, each with the keys that it has now. One that was no master for a while has
        new connections, and what it said meanwhile was no word of a master."""
        nodes = redis.nodes
        return self._placed == redis.placed and all(map(is_, self._nodes, nodes))

    @property
    def is_up(self) -> bool:
        """Whether events of all nodes arrive, as far as known."""
        return all(part.is_up for part in self._parts)

    @property
    def generation(self) -> int:
        """Grows with every subscription to any node."""
        return sum(part.generation for part in self._parts)

    @property
    def error(self) -> StoreError | None:
        """Why a subscription ended, or why there is none."""
        return next((part.error for part in self._parts if part.error is not None), None)

    @property
    def event(self) -> float:
        """Every node has reported something since."""
        return min(part.event for part in self._parts)

    @property
    def heard_up_to(self) -> float:
        """All events of before this monotonic time have been noted, but for those that a gap has swallowed."""
        return min(part.heard_up_to for part in self._parts)

    def is_alive(self) -> bool:
        """Whether all threads run."""
        return all(part.is_alive() for part in self._parts)

    def start(self) -> None:
        """Start all threads."""
        for part in self._parts:
            part.start()

    def wait_up(self, timeout: float) -> None:
        """Raises StoreError where there is no subscription in time, or never will be."""
        end = time.monotonic() + timeout
        for part in self._parts:
            part.wait_up(max(0.0, end - time.monotonic()))

    def probe(self, sample: Sequence[str]) -> None:
        """Whether events of a type arrive, by a scratch key on each node. Raises CapabilityError."""
        for part in self._parts:
            part.probe(sample)

    def hurry(self) -> None:
        """Move `heard_up_to` beyond the present soon."""
        for part in self._parts:
            part.hurry()

    def restart(self, why: StoreError) -> None:
        """Give up the subscriptions for new ones."""
        for part in self._parts:
            part.restart(why)

    def stop(self) -> None:
        """End all threads, and wait for it."""
        for part in self._parts:
            part.stop()
        for part in self._parts:
            part.join()
