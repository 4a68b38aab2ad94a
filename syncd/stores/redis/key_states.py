"""Reads keys that the application writes, with what syncd remembers of them. Only reads, in any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from syncd.plan.to_mongo.state import COLON, FoundKey, StatePlan
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, clock_us, translated

KEYS_A_CALL = 200
SCAN_COUNT = 1000
MOST_BYTES = 4 * 1024 * 1024
"""Of one call: behind it the application's commands wait."""


class States(NamedTuple):
    """Keys, each as it was at one moment."""

    found: dict[bytes, FoundKey]
    last: str
    """The last entry that the outbox has had behind the reads; "" where there is none."""
    moment: int
    """Redis's clock behind the reads, in microseconds."""


def members_of(redis: RedisStore, plan: StatePlan, key: bytes) -> Iterator[list[bytes]]:
    """Names of all members of a key that are there from the begin of this to its end, some of them more than once; of
    others some. None of a key of another type."""
    form, cursor = plan.of_members, 0
    assert form is not None
    while True:
        with translated():
            if redis.client.type(key) != plan.type.encode():
                return
            said: Any = redis.client.execute_command(*form.page(key, cursor))
        cursor, members = form.scanned(said)
        yield [COLON.join((key, member)) for member in members]
        if cursor == 0:
            return


class KeyStates:
    """The keys of one contract."""

    def __init__(self, redis: RedisStore, plan: StatePlan) -> None:
        self._redis, self._plan, self._keys = redis, plan, ControlKeys(plan.name)

    def read(self, keys: Sequence[bytes]) -> States:
        """What these keys hold. Raises StoreError."""
        found: dict[bytes, FoundKey] = {}
        last, moment, todo = b"", 0, list(keys)
        while todo:
            asked = todo[:KEYS_A_CALL]
            places, members = self._plan.places(asked)
            names = [self._keys.synced, self._keys.outbox, *places]
            reply = self._redis.call("syncd_look_state", names, [self._plan.type, MOST_BYTES, *members])
            last, moment = reply[1], clock_us(reply[2:4])
            some = [self._plan.found(*reply[at : at + 5]) for at in range(4, len(reply), 5)]
            found.update(zip(asked, some, strict=False))
            todo = todo[len(some) :]  # very large keys do not all fit one reply
        return States(found, last.decode(), moment)

    def pages(self) -> Iterator[list[bytes]]:
        """All keys of the template, as SCAN has it; also a page without any, so that the caller hears of it."""
        cursor = 0
        while True:
            with translated():
                page: Any = self._redis.client.scan(cursor, match=self._plan.pattern, count=SCAN_COUNT)
            cursor, keys = int(page[0]), [key for key in page[1] if self._plan.has_key(key)]
            if self._plan.of_members is None:
                yield keys
            else:
                yield from chain([[]], *(members_of(self._redis, self._plan, key) for key in keys))
            if cursor == 0:
                return

    def absent(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of these keys that are not there."""
        if not keys:
            return []
        if self._plan.of_members is not None:
            return [name for name, found in self.read(keys).found.items() if not found.is_there]
        pipe = self._redis.client.pipeline(transaction=False)
        for key in keys:
            pipe.exists(key)
        with translated():
            there = pipe.execute()
        return [key for key, is_there in zip(keys, there, strict=True) if not is_there]

    def marked(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of these keys that wait to be merged, of a contract that goes both ways."""
        with translated():
            scores: Any = self._redis.client.execute_command("ZMSCORE", self._keys.merge_requests, *keys)
        return {key for key, score in zip(keys, scores, strict=True) if score is not None}
