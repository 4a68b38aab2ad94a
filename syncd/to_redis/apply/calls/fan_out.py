"""The way into a cluster: one call a node, each with the position behind it, and all their replies as one.

A node that has nothing to write need not hear of every call. Its record is then behind, and says so: it is written with
the next call of its own, and after BEHIND_S at the latest.
"""

from __future__ import annotations

import time
from collections import deque
from secrets import token_hex

from syncd.stores.mongo.times import Moment
from syncd.stores.redis.records.cluster_lease import ClusterLease
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.levels import LEVEL, REPLAYED
from syncd.stores.redis.records.position import ControlKeys, Position
from syncd.stores.redis.store import RedisStore
from syncd.to_redis.apply.calls.operations import Limited, Operations
from syncd.to_redis.apply.calls.split_operations import SplitOperations
from syncd.to_redis.apply.calls.writer import Reply, Writer

BEHIND_S = 1.0
"""How old the record of a node may be while others move on: a restart does so much again."""


def writer_of(store: RedisStore, control: ControlKeys, lease: Lease) -> Writer | FanOut:
    """For a lane that holds this lease."""
    return FanOut(store, lease) if isinstance(lease, ClusterLease) else Writer(store, control, lease)


class FanOut:
    """Sends the parts of each call, and receives them in the same order. See `Writer`."""

    def __init__(self, store: RedisStore, lease: ClusterLease) -> None:
        """`lease`: held, on the nodes that the calls go to."""
        self.store, self._slots = store, lease.map
        nodes = zip(lease.nodes, lease.parts, strict=True)
        self._writers = [Writer(node, part.keys, part) for node, part in nodes]
        self.nodes = len(self._writers)
        self._told = [0.0] * self.nodes
        self._under_way: deque[list[tuple[int, int]]] = deque()
        """Of each call without an answer its nodes, and where their writes begin in the list of all."""
        self.call_s: float | None = None

    def operations(self, contract: str, version: str, keep: int, limited: Limited) -> Operations:
        """Empty ones, for the next call."""
        controls = [writer.control for writer in self._writers]
        return SplitOperations(self._slots, controls, contract, version, keep, limited)

    def send(self, operations: Operations, position: Position) -> None:
        """Send the parts of one call, all with the position behind the whole."""
        assert isinstance(operations, SplitOperations)
        starts, now = operations.join(), time.monotonic()
        wanted = [bool(part.writes) for part in operations.parts]
        is_for_all = operations.has_digests or operations.ends_replay or not any(wanted)
        chosen = [
            number for number, told in enumerate(self._told)
            if wanted[number] or is_for_all or now - told > BEHIND_S
        ]  # fmt: skip
        also = [LEVEL, token_hex(4) if len(chosen) == len(wanted) else ""]
        also += [REPLAYED, token_hex(4)] if operations.ends_replay else []
        # All are packed before one is sent: text that is not UTF-8 is found by that.
        packed = [self._writers[number].packed(operations.parts[number], position, also) for number in chosen]
        for number, part in zip(chosen, packed, strict=True):
            self._writers[number].launch(part, position.time)
            self._told[number] = now
        self._under_way.append([(number, starts[number]) for number in chosen])

    def receive(self) -> Reply:
        """The answers to the parts of the first call without one."""
        replies = []
        self.call_s = None
        for number, start in self._under_way.popleft():
            writer = self._writers[number]
            replies.append((start, writer.receive()))
            if writer.call_s is not None:
                self.call_s = max(self.call_s or 0.0, writer.call_s)
        return merged(replies)

    @property
    def stored(self) -> Moment | None:
        """Time of the earliest position that a node has confirmed; None while one has had no call."""
        times = [writer.stored for writer in self._writers if writer.stored is not None]
        return min(times) if len(times) == len(self._writers) else None

    def rest(self) -> None:
        """Give back the connections that were not used for a while."""
        for writer in self._writers:
            writer.rest()

    def close(self) -> None:
        """Give up all connections."""
        for writer in self._writers:
            writer.close()


def merged(replies: list[tuple[int, Reply]]) -> Reply:
    """The reply to a call of several parts, each with the number of its first write."""
    parts = [reply for _, reply in replies]
    return Reply(
        refused=[(start + at, why) for start, reply in replies for at, why in reply.refused],
        failed=[(start + at, why) for start, reply in replies for at, why in reply.failed],
        dropped=sum(reply.dropped for reply in parts),
        removed=sum(reply.removed for reply in parts),
        kept=sum(reply.kept for reply in parts),
        shifted=sum(reply.shifted for reply in parts),
        unsaid=sum(reply.unsaid for reply in parts),
        behind=all(reply.behind for reply in parts),
        partly=not all(reply.ok for reply in parts) and any(reply.ok or reply.failed for reply in parts),
    )
