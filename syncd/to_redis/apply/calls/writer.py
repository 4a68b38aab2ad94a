"""The way into Redis: one connection, calls of `syncd_apply` in order, and every reply read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
from redis.connection import Connection
from redis.exceptions import RedisError, ResponseError

from syncd.errors import InvariantError, StoreError, TransientError
from syncd.plan.types import redis_type
from syncd.stores.mongo.times import Moment
from syncd.stores.redis.records.lease import LOST, Lease
from syncd.stores.redis.records.position import ControlKeys, Position
from syncd.stores.redis.store import RedisStore, translate
from syncd.to_redis.apply.calls.operations import Limited, Operations


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a call. Nothing in both lists: all is written, and the position with it."""

    refused: list[tuple[int, str]]
    """Operation number and `absent`, `type` or, of a dead letter, `full`. Nothing was written."""
    failed: list[tuple[int, str]]
    """Operation number and Redis's error. The position was not moved; the call must be made again without them."""
    dropped: int = 0
    """Dead letters that gave way to new ones."""
    removed: int = 0
    """Keys that are gone."""
    kept: int = 0
    """Keys of elements that held what they should."""
    shifted: int = 0
    """Entries of change feeds that did not get the id of their change, because their stream was ahead."""
    unsaid: int = 0
    """Changes of which no entry of a feed speaks, because they are about documents that do not match a filter."""
    behind: bool = False
    """Nothing was written, because the call before was not applied."""
    partly: bool = False
    """Some nodes of a cluster have applied their part, and others not."""

    @property
    def ok(self) -> bool:
        """Whether everything is written."""
        return not (self.refused or self.failed or self.behind or self.partly)


WAITED_S = 0.0003
LONG_S = 0.005
"""A call that takes longer makes us ask how much of that is the way to Redis and back."""
ASK_AGAIN_S = 5.0
IDLE_S = 2.0
"""After which a lane gives its connection back to those that all lanes share."""


def _also(position: Position) -> str:
    """Further Redis types that a whole write may replace: while a copy runs, keys of a projection that changed its type
    hold the old type until their document comes by."""
    if not position.is_copying:
        return ""
    return ",".join(sorted({redis_type(kind) for _, _, kind in position.owned}))


class Writer:
    """Sends batches. Each `send` has its `receive`, in the same order, so that work can be done while Redis answers.

    Every call names the call that it follows, and Redis leaves it out where that one was not applied. Any error leaves
    open which of the calls under way were applied; the lane then starts again from the stored position.
    """

    nodes = 1

    def __init__(self, store: RedisStore, control: ControlKeys, lease: Lease) -> None:
        self.store, self.control, self._lease = store, control, lease
        self._connection: Connection | None = None
        self._under_way: deque[tuple[int, int, float, Moment]] = deque()
        """Number of each call without an answer, of the call that it follows, when Redis can have begun with it, and
        the time of the position behind it."""
        self.stored: Moment | None = None
        """Time of the position that Redis has confirmed; None before the first call."""
        self._number = self._sent = self._applied = 0
        """The last number given, and those of the last call sent and applied."""
        self._asked = self._answered = self._link_s = 0.0
        self.call_s: float | None = None
        """How long Redis took for the last call, without the way; None where the reply was there before we waited."""

    def operations(self, contract: str, version: str, keep: int, limited: Limited) -> Operations:
        """Empty ones, for the next call."""
        return Operations(self.control, contract, version, keep, limited)

    def send(self, operations: Operations, position: Position) -> None:
        """Send one call: all operations and the position behind them."""
        self.launch(self.packed(operations, position), position.time)

    def packed(self, operations: Operations, position: Position, also: Sequence[str] = ()) -> bytes:
        """The next call as it goes over the wire. `also`: further fields of the record, with what they say. Raises
        UnicodeEncodeError."""
        fields = [*position.encoded(), *also, "call", self._number + 1]
        control = self.control
        keys = [control.lease, control.position, control.dead, control.stale]
        args = [self._lease.value, self._lease.ttl_ms, _also(position), operations.rows(), self._sent]
        args += [len(fields), *fields]
        args += operations.args
        if self.store.place:
            name = "syncd_apply_on_node"
            args += [*operations.keys, len(operations.keys)]
        else:
            name = "syncd_apply"
            keys += operations.keys
        # The driver's own packing checks every argument in Python first, which costs more than hiredis itself.
        packed: bytes = hiredis.pack_command(tuple(self.store.functions.command(name, keys, args)))
        return packed

    def launch(self, packed: bytes, time_of: Moment) -> None:
        """Send what was packed last, with a position of this time."""
        self._lease.touch()
        try:
            if self._connection is None:
                self._connection = self.store.client.connection_pool.get_connection()
            self._connection.send_packed_command([packed], check_health=False)
        except RedisError as error:
            self.close()
            raise translate(error, self.store.node) from error
        self._number += 1
        self._under_way.append((self._number, self._sent, time.monotonic(), time_of))
        self._sent = self._number

    def receive(self) -> Reply:
        """The answer to the first call without one. Raises FencedError when the lease is lost, TransientError where
        Redis lacks what it confirmed: a connection may be one to another server than the last was."""
        if self._connection is None or not self._under_way:
            raise InvariantError("a reply of Redis is waited for, and no call is under way")
        asked = time.monotonic()
        try:
            said: list[Any] = self._connection.read_response()
            number, follows, sent, time_of = self._under_way.popleft()
            since, self._answered = max(sent, self._answered), time.monotonic()
            # A reply that was there already says only that the call took less than what we did meanwhile.
            waited = self._answered - asked > WAITED_S
            self.call_s = self._without_link(self._answered - since) if waited else None
        except RedisError as error:
            self.close()
            raise self._explain(error) from error
        word, *reply = self._lease.check(said)
        if word == b"ok":
            self._applied, self.stored = number, time_of
            self._lease.confirmed = "call", number
            dropped, removed, kept, shifted, unsaid = map(int, reply)
            return Reply([], [], dropped, removed, kept, shifted, unsaid)
        pairs = [
            (int(index), reason.decode(errors="replace"))
            for index, reason in zip(reply[::2], reply[1::2], strict=True)
        ]
        if word == b"behind" and follows == self._applied:
            raise TransientError("redis", LOST)
        self._sent = self._applied  # what was sent behind it is left out, and the next call follows this one
        return Reply(
            pairs if word == b"refused" else [], pairs if word == b"failed" else [], behind=word == b"behind"
        )

    def _without_link(self, seconds: float) -> float:
        """Smaller calls spare a busy Redis, and help nothing on a long way."""
        now = time.monotonic()
        is_due = seconds > LONG_S and now > self._asked + ASK_AGAIN_S and not self._under_way
        if is_due and self._connection is not None:
            self._connection.send_command("PING", check_health=False)
            self._connection.read_response()
            self._asked = time.monotonic()
            self._link_s = self._asked - now
        return max(0.0, seconds - self._link_s)

    def _explain(self, error: RedisError) -> StoreError:
        if isinstance(error, ResponseError) and self.store.functions.is_missing(error):
            try:
                self.store.functions.prepare(self.store.client)
            except RedisError as second:
                return translate(second, self.store.node)
            return TransientError("redis", "Redis had forgotten syncd's functions; they are loaded again")
        return translate(error, self.store.node)

    def rest(self) -> None:
        """Give the connection back where it has not been used for a while: most lanes are quiet most of the time."""
        is_idle = not self._under_way and time.monotonic() - max(self._answered, self._asked) > IDLE_S
        if self._connection is not None and is_idle:
            self.store.client.connection_pool.release(self._connection)
            self._connection = None

    def close(self) -> None:
        """Give up the connection; a reply that is still on its way must not meet the next caller."""
        if self._connection is not None:
            self._connection.disconnect()
            self.store.client.connection_pool.release(self._connection)
            self._connection = None
