"""Reads keys as they are, and notes what is done: for contracts whose keys go to MongoDB. Under the lease, always."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from syncd import telemetry
from syncd.plan.to_mongo.state import FoundKey, StatePlan
from syncd.stores.redis.key_states import by_node
from syncd.stores.redis.records.dead_letters import (
    as_bytes,
    as_text,
    count_dead_letters,
    fill_up,
    new_dead_letter,
)
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.state.positions import NEVER, of_entry, of_time

MOST_BYTES = 4 * 1024 * 1024
"""Of one read: behind it the application's commands wait."""
ANOTHER = -1
"""Instead of how many samples a search has found: another series took the name, so no count says what MongoDB has."""


class Reading(NamedTuple):
    """Keys as they were at one moment."""

    position: str
    """See positions.py. Every entry that was in the outbox at that moment lies at or before it."""
    watermark: str
    """Positions up to it may be those of another time, before Redis went back."""
    found: list[FoundKey]
    """Of the first keys that were asked for, in their order; all but where they are very large."""


class NewSamples(NamedTuple):
    """What a lane has to do for one series, see lua/series.lua."""

    series: bytes
    type: str
    """As `TYPE` says it, or AWAY."""
    moments: list[bytes]
    remembered: str
    """What is to be remembered once MongoDB has these."""
    late: int
    """How many others MongoDB does not have: older ones than all that are remembered, which were added late."""
    is_beyond: bool
    """Whether it has samples behind the year 9999, which no document can have."""

    @property
    def oldest(self) -> int:
        """The moment of the oldest sample that is remembered; 0 where none is."""
        _, _, first = self.remembered.partition(" ")
        return int(first.partition(":")[0] or 0)


class StateStore:
    """The keys of one contract, and its records. `outbox` is the stream whose ids order reads; without it time does."""

    def __init__(self, redis: RedisStore, plan: StatePlan, lease: Lease, outbox: str | None = None) -> None:
        self._redis, self._plan, self._lease = redis, plan, lease
        self._keys = ControlKeys(plan.name, place=redis.place)
        self._outbox = outbox
        self.last = NEVER
        """Of the outbox at the last read: whatever was noted before it lies at or before this position."""
        self.waiting = 1
        """How many dead letters wait, at least where there are any."""
        self._keep_dead_letters = plan.keep_dead_letters

    def by_node(self, keys: Sequence[bytes]) -> Iterator[list[bytes]]:
        """These keys, those of each node together."""
        yield from (some for _, some in by_node(self._redis, self._plan, keys))

    def read(self, keys: Sequence[bytes]) -> Reading:
        """The content of keys, all of one node. Raises FencedError, StoreError."""
        places, members = self._plan.places(keys)
        args: list[Any] = [self._lease.ttl_ms, self._plan.type, MOST_BYTES, self._digests()]
        part = self._lease.parts[self._redis.node_of(places[0])]
        if part.keys.place:
            name = "syncd_read_samples_on_node" if members else "syncd_read_state_on_node"
            reply = part.call(name, [part.keys.synced], [*args, *places, *members])
        else:
            reply = part.call("syncd_read_state", [self._order_key, *places], [*args, *members])
        last, seconds, micros, watermark = reply[1:5]
        self.last = of_entry(last.decode())
        position = of_entry(last.decode()) if self._outbox else of_time(int(seconds), int(micros))
        found = [self._plan.found(*reply[at : at + 5]) for at in range(5, len(reply), 5)]
        return Reading(max(position, watermark.decode()), watermark.decode() or NEVER, found)

    @property
    def _order_key(self) -> str:
        return self._outbox or self._keys.synced

    def _digests(self) -> str:
        if self._outbox or self._plan.of_members is not None:
            return ""
        return "content" if self._plan.expires_at is None else "whole"

    def new_samples(self, series: Sequence[bytes], most: int, searched: Sequence[int]) -> list[NewSamples]:
        """Which samples of these series, all of one node, MongoDB may not have, at most so many newer ones of each: of
        the first series, in their order. `searched`: how many late ones a search has found of each, or ANOTHER. Raises
        FencedError, StoreError."""
        part = self._lease.parts[self._redis.node_of(series[0])]
        args: list[Any] = [self._lease.ttl_ms, self._plan.type, most]
        if part.keys.place:
            reply = part.call("syncd_new_samples_on_node", [part.keys.synced], [*args, *series, *searched])
        else:
            reply = part.call("syncd_new_samples", [part.keys.synced, *series], [*args, *searched])
        parts = (reply[at : at + 5] for at in range(1, len(reply), 5))
        return [
            NewSamples(key, kind.decode(), moments, text.decode(), late, bool(beyond))
            for key, (kind, moments, text, late, beyond) in zip(series, parts, strict=False)
        ]

    def done(self, done: Sequence[bytes], refused: Mapping[bytes, Refused], keep_from: str = "") -> int:
        """These keys are in MongoDB, and those never will be: a dead letter for each, instead of the one before.
        `keep_from` is the id of the outbox below which everything is done. Returns how many dead letters are new."""
        # Nearly always there is no dead letter, and none to remove.
        names = [f"{self._plan.projection} {self._ident(key)}" for key in done] if self.waiting else []
        self.waiting += len(refused)
        args: list[Any] = [keep_from, self._keep_dead_letters, len(names), *map(as_bytes, names)]
        for key, why in refused.items():
            said = self._dead_letter(as_text(key), self._ident(key), why)
            args += [len(said), *map(as_bytes, said)]
        keys = [self._keys.dead, self._keys.dead_by_document, self._outbox or self._keys.position]
        reply = self._call("syncd_done_state", keys, args)
        if reply[0] == b"full":
            self._fill(done, refused)
        dropped, *new = reply[1:]
        telemetry.dead_letters_dropped(self._plan.name, dropped)
        parked = [
            (self._plan.projection, why.reason, why.detail)
            for why, is_new in zip(refused.values(), new, strict=True) if is_new
        ]  # fmt: skip
        telemetry.dead_letters_stored(self._plan.name, parked)
        return sum(new)

    def _fill(self, done: Sequence[bytes], refused: Mapping[bytes, Refused]) -> NoReturn:
        """What is done, and the dead letters for which there is room; then the run ends."""
        self.done(done, {})
        named = {f"{self._plan.projection} {self._ident(one[0])}": one for one in refused.items()}
        keep = self._keep_dead_letters
        fill_up(self._redis, self._plan.name, keep, named, lambda some: self.done([], dict(some)))

    def count_dead_letters(self) -> int:
        """How many dead letters wait."""
        self.waiting = count_dead_letters(self._redis, self._plan.name)
        return self.waiting

    def _ident(self, key: bytes) -> str:
        """What a dead letter is called: of a contract that also reads documents, as those are."""
        return as_text(key)

    def _dead_letter(self, key: str, ident: str, why: Refused) -> list[str]:
        plan = self._plan
        return new_dead_letter(
            plan.name,
            plan.contract.metadata.version,
            projection=plan.projection,
            key=key,
            ident=ident,
            why=why,
            change={"key": key},
        )

    def raise_watermark(self, position: str) -> None:
        """Reads are at or behind this position from now on: documents are, so this Redis went back in time."""
        for part in self._lease.parts:
            part.call("syncd_raise_floor", [], [position])

    def lost(self) -> tuple[int, bool]:
        """Entries of the outbox that another client removed since the last check, and whether it is another stream."""
        keys = [self._order_key, self._keys.requests]
        reply = self._lease.call("syncd_lost_entries", keys, [])
        return int(reply[1]), bool(reply[2])

    def _call(self, name: str, keys: Sequence[str | bytes], args: list[Any]) -> list[Any]:
        return self._lease.call(name, keys, [self._lease.ttl_ms, *args])
