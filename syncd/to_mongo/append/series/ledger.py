"""What a daemon is about to write into a time series, noted in Redis before it is written.

In one step with the end of a batch its entries are acknowledged, its dead letters parked, and the note goes. So a
daemon that takes over finds either a batch that may be written, under its number, or none. Each step checks the lease.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from syncd.errors import TransientError
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import Fields, read_fields
from syncd.stores.redis.store import RedisStore, clock_us, translated
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.append.dead_letters import DeadLetters


class Noted(NamedTuple):
    """A batch that may have been written, for the most part, or not at all."""

    number: int
    entries: list[str]
    age_s: float
    """Since it was noted."""


class Ledger:
    """Of one contract. Raises FencedError where the lease is lost, TransientError where another batch is noted."""

    is_split = False
    """Whether dead letters are elsewhere: they may come back after the entry has become a document."""

    def __init__(self, store: RedisStore, plan: AppendPlan, lease: Lease) -> None:
        self._store, self._plan, self._lease = store, plan, lease
        self._dead_letters = DeadLetters(store, plan)
        keys = self._keys = lease.keys
        self._more_keys = [keys.dead, keys.dead_by_document, plan.stream]
        self._now: int | str = ""
        self.keep_dead_letters = plan.keep_dead_letters
        """See ContractPlan."""

    def noted(self) -> Noted | None:
        """What a run before, here or elsewhere, has left. Later calls go on from it."""
        pipe = self._store.client.pipeline(transaction=True)
        pipe.hmget(self._keys.position, Fields.BATCH, Fields.NUMBER, Fields.SINCE)
        pipe.time()
        with translated():
            (batch, number, since), now = pipe.execute()
        self._now = int(number) if batch else ""
        if not batch:
            return None
        age_s = (clock_us(now) - int(since)) / 1e6
        # By a clock that went back since it is not known how long ago it was.
        return Noted(int(number), batch.decode().split(" "), age_s if age_s >= 0 else float("inf"))

    def turn(
        self, entries: list[str], done: Collection[str] | None, refused: Mapping[str, Refused]
    ) -> tuple[int, int]:
        """These are written next, `done` are written, `refused` never will be. The number for what is written next,
        and how many dead letters are new. Replaces the batch that is noted.

        None is done where all are that were noted. These are acknowledged by `acknowledge`, or by the next call.
        """
        number, *stored = self._advance(entries, done, refused)
        return int(number), self._dead_letters.tell(refused, stored)

    def close(self, done: Collection[str] | None, refused: Mapping[str, Refused]) -> int:
        """The same where nothing is next, and all is acknowledged at once; how many dead letters are new."""
        return self._dead_letters.tell(refused, self._advance([], done, refused)[1:])

    def acknowledge(self) -> None:
        """The entries of a batch that is done, where they are not acknowledged yet."""
        self._call("syncd_written", self._more_keys, [self._plan.name, self._plan.projection])

    def _advance(
        self, entries: list[str], done: Collection[str] | None, refused: Mapping[str, Refused]
    ) -> list[bytes]:
        args = [self._lease.ttl_ms, self._plan.name, self._plan.projection]
        args += [self.keep_dead_letters, self._now]
        args += [" ".join(entries), *(["all"] if done is None else [len(done), *done])]
        args += self._dead_letters.arguments(refused)
        reply = self._call("syncd_advance", self._more_keys, args)
        if reply[0] == b"full":
            self._dead_letters.fill(refused)
        return [self._stepped(reply, entries), *reply[2:]]

    def _stepped(self, reply: list[bytes], entries: list[str]) -> bytes:
        """What is noted from now on, and its number."""
        self._now = ""
        if entries:
            self._now = int(reply[1])
            self._lease.confirmed = Fields.NUMBER, self._now
        return reply[1]

    def _call(self, name: str, keys: list[str], args: list[Any]) -> list[bytes]:
        reply = self._lease.call(name, keys, args)
        if reply[0] == b"noted":
            raise TransientError("redis", "another batch is noted than ours; the lane begins with that one")
        return reply

    def above(self, number: int) -> None:
        """MongoDB has seen this number, and this Redis does not know it: its clock, or its data, went back."""
        self._call("syncd_number_above", [], [number])

    def set_doubt(self, entry: str) -> None:
        """Up to this entry documents may be there that Redis no longer knows."""
        self._set({Fields.DOUBT: entry})

    def _set(self, said: dict[str, str]) -> None:
        with translated():
            self._store.client.hset(self._keys.position, mapping=said)  # type: ignore[arg-type]

    def doubt(self, newest: str, *, group_lost: bool, group_new: bool) -> tuple[str, bool]:
        """Up to which entry documents may be there of which this Redis knows nothing, and whether that is news.

        A Redis may come back without its last writes: then it is another process than at the last check, or has taken
        the data of another one. `newest` is the last entry of the stream, and the group is lost, or new, as of this
        run.
        """
        with translated():
            info: Any = self._store.client.info("server", "replication")
        present = f"{info['run_id']} {info.get('master_replid', '')}"
        server, before = self._remembered()
        if server == present and not group_lost:
            return before, False
        news = group_lost or not group_new
        self._set({Fields.SERVER: present, Fields.DOUBT: newest if news else before})
        return (newest if news else before), news

    def _remembered(self) -> tuple[str, str]:
        """The server of the last check, and up to where there was doubt."""
        server, before = read_fields(self._store, self._keys, Fields.SERVER, Fields.DOUBT)
        return server, before or "0-0"
