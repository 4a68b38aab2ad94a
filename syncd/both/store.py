"""The Redis side of a merge: keys with their bases, merge requests, and writes that compare first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from syncd.errors import ProjectionError
from syncd.plan.both.plan import Record, TwoWayPlan
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.to_mongo.state import FoundKey
from syncd.stores.mongo.times import Moment, parse, readable
from syncd.stores.paging import paged
from syncd.stores.redis.records.dead_letters import as_text
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import Fields, read_fields
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_mongo.state.store import MOST_BYTES, StateStore

COUNTS_PER_MS = 2048
"""A merge request is the epoch milliseconds of its change times this, plus a count, which is odd where the key is asked
for. See lua/operations.lua."""
CENTURY_MS = 10**12


class PairWrite(NamedTuple):
    """What to write to one key and to its record."""

    key: bytes
    expected: str
    """The digest of the key as it was read; "" where there was none."""
    merge_request: int | None
    record: Record | str | None
    """The new one; None where there is none any more, "=" where it stays."""
    operation: list[Any] = ["-", 0]  # noqa: RUF012 - a tuple's default; it is never changed

    @property
    def needs_memory(self) -> bool:
        """Whether the key gets anything."""
        return self.operation[0] not in ("-", "d")


class TwoWayStore(StateStore):
    """Of one contract. Used by one thread, except for the merge requests that the stream makes."""

    def __init__(self, redis: RedisStore, plan: TwoWayPlan, lease: Lease, most_keys: int) -> None:
        """`most_keys`: of one call, behind which the application's commands wait."""
        super().__init__(redis, plan.state, lease)
        self._most_keys = most_keys
        # The merge request of a refused key is removed before its dead letter is stored, so the latter must not be
        # refused for want of room. See MergeLoop.
        self._keep_dead_letters = min(0, plan.keep_dead_letters)
        self._outbox = self._keys.outbox if plan.contract.sync.capture == "outbox" else None

    def read_first(self, keys: Sequence[bytes]) -> list[FoundKey]:
        """The first of these keys, each as it is at one moment: all but where they are very large."""
        found: list[FoundKey] = []
        for part in paged(keys, self._most_keys):
            names: list[str | bytes] = [self._keys.synced, *part]
            reply = self._call("syncd_read_state", names, [self._plan.type, MOST_BYTES, "merge"])
            some = [self._plan.found(*reply[at : at + 5]) for at in range(5, len(reply), 5)]
            found += some
            if len(some) < len(part):
                break
        return found

    def oldest_merge_requests(self, count: int) -> list[bytes]:
        """The keys with the oldest merge requests."""
        with translated():
            found: Any = self._redis.client.zrange(self._keys.merge_requests, 0, count - 1)
        return list(found)

    def count_merge_requests(self) -> tuple[int, int]:
        """How many keys have a merge request, and the epoch milliseconds of the first change, 0 where unknown."""
        with translated():
            count: Any = self._redis.client.zcard(self._keys.merge_requests)
            first: Any = self._redis.client.zrangebyscore(
                self._keys.merge_requests, CENTURY_MS * COUNTS_PER_MS, "+inf", start=0, num=1, withscores=True
            )
        return int(count), changed_at(int(first[0][1])) if first else 0

    def merge_requests(self, keys: Sequence[bytes]) -> list[int | None]:
        """The merge requests of keys. What is read from MongoDB afterwards is not older than these."""
        with translated():
            found: Any = self._redis.client.execute_command("ZMSCORE", self._keys.merge_requests, *keys)
        return [None if score is None else int(score) for score in found]

    def latest_read(self) -> Moment | None:
        """The latest time of a read of MongoDB that may show in Redis."""
        (said,) = read_fields(self._redis, self._keys, Fields.MERGED)
        return parse(said) if said else None

    def has_newer_entry(self, last: str) -> bool:
        """Whether the outbox has an entry behind this one."""
        with translated():
            return bool(self._redis.client.xrange(self._keys.outbox, f"({last}", count=1))

    def keep(self, records: Mapping[bytes, tuple[str, Record]]) -> None:
        """Store records, each with the digest that was stored before it, without a change of its key."""
        args: list[Any] = [0]
        for key, (digest, record) in records.items():
            args += [key, digest.encode() + b" " + record.encoded()]
        self._call("syncd_synced", [self._keys.synced], args)

    def merge(self, steps: Sequence[PairWrite], time: Moment) -> tuple[int, list[int | str]]:
        """How many merge requests are left, and of each step 1 where it is done, 0 where the key had changed by then,
        or why Redis refuses it. Either all of them need memory or none does."""
        left, said = 0, []
        for part in paged(steps, self._most_keys):
            left, some = self._merge(part, time)
            said += some
        return left, said

    def _merge(self, steps: Sequence[PairWrite], time: Moment) -> tuple[int, list[int | str]]:
        args: list[Any] = [self._plan.type, readable(time)]
        for step in steps:
            record = step.record.encoded() if isinstance(step.record, Record) else step.record or ""
            merge_request = "" if step.merge_request is None else step.merge_request
            args += [step.expected, merge_request, record, *step.operation]
        name = "syncd_merge" if steps[0].needs_memory else "syncd_agree"
        keys: list[str | bytes] = [
            self._keys.merge_requests,
            self._keys.synced,
            *(step.key for step in steps),
        ]
        reply = self._call(name, keys, args)
        said = [one.decode(errors="replace") if isinstance(one, bytes) else int(one) for one in reply[2:]]
        return int(reply[1]), said

    def _ident(self, key: bytes) -> str:
        try:
            return encode_key_value(self._plan.document_id(key))
        except ProjectionError:
            return as_text(key)


def is_asked(merge_request: int | None) -> bool:
    """Whether a copy, a check or a replay asks for the key. The stream only reports changes."""
    return merge_request is not None and merge_request % 2 == 1


def changed_at(merge_request: int | None) -> int:
    """Epoch milliseconds of the change that a merge request is for; 0 where unknown."""
    moment = (merge_request or 0) // COUNTS_PER_MS
    return moment if moment >= CENTURY_MS else 0
