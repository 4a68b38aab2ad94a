"""The consumer group of a contract on its stream: shared by all daemons, each a consumer of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

from redis import exceptions as driver

from syncd.contract.model.contract import Contract
from syncd.errors import FatalError, TransientError
from syncd.plan.claims import claims_of
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.columns import Said
from syncd.stores.redis.records.lease import is_dead
from syncd.stores.redis.records.position import ControlKeys, Fields, read_fields
from syncd.stores.redis.store import RedisStore, clock_us, translated
from syncd.to_mongo.append.stream_history import ZERO, History, StreamState, entry_order, proof_of

BLOCK_MS = 500
"""How long a read waits for an entry: far below the time after which a connection is given up."""
FIRST_TIME_MS = 10**12
"""An id below it is no time of this century, but one that the application chose."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of the stream. There may be thousands, so they have no objects of their own."""

    ids: list[str]
    said: list[Said]
    """Of each. No entry is without fields, so this is empty where it was removed meanwhile."""

    def __len__(self) -> int:
        return len(self.ids)

    def size(self) -> int:
        """Bytes of names and values."""
        return sum(map(len, map(b"".join, self.said)))

    def parted(self) -> tuple[Entries, list[str]]:
        """Those that are there, and the ids of the others."""
        if all(self.said):
            return self, []
        there = [at for at, said in enumerate(self.said) if said]
        gone = [entry for entry, said in zip(self.ids, self.said, strict=True) if not said]
        return Entries([self.ids[at] for at in there], [self.said[at] for at in there]), gone


class TakenEntries(NamedTuple):
    """Entries, and how many others are known to be gone."""

    entries: Entries
    trimmed: int = 0


class Backlog(NamedTuple):
    """What is left to do. `oldest` is the age in seconds of the oldest entry that is not acknowledged."""

    entries: int
    oldest: float
    acknowledged: str
    """Everything up to this id is in MongoDB, or a dead letter."""
    size: int = 0
    """Bytes that the stream takes in Redis, about; 0 where Redis was not asked."""


class Group:
    """All commands on one group. Raises StoreError; that the group is gone is a TransientError."""

    def __init__(self, store: RedisStore, plan: AppendPlan, consumer: str) -> None:
        self._store, self._consumer = store, consumer
        self.stream, self.name, self._claims = plan.stream, plan.name, claims_of(plan)
        self._keys = ControlKeys(plan.name, place=store.place)
        self._history = History()
        self._stored: dict[str, str] = {}
        self._delivered = ""
        self._reread = False
        self.is_new = self.was_lost = False
        """Whether the last `ensure` has made the group, and whether there had been one, or the stream went back."""

    @property
    def _server(self) -> RedisStore:
        """That has the stream. In a cluster it has not the records, and may be another one after each error."""
        return self._store.at_key(self.stream)

    def ensure(self) -> str | None:
        """Make the group where there is none, or have it begin again where the stream went back. Returns where it
        begins, if there was one before that got lost."""
        client, self.is_new, self.was_lost = self._server.client, False, False
        with self.translated():
            self._take_up()
            known = self._known()
            start = self._start(known)
            try:
                client.execute_command(
                    "XGROUP CREATE", self.stream, self.name, start, "MKSTREAM", *self._read(start)
                )
            except driver.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
                return self._begin_again() if self._reread or self._went_back() else None
            self.is_new, self.was_lost = True, bool(known)
            if start == ZERO:
                self._history.begin_again(self._first_entry())
            # Also the sign by which people's commands know that the contract runs on this Redis.
            self._keep({Fields.ACKNOWLEDGED: start, **self._history.fields()})
            self._reread = False
        return start if known else None

    def reword(self, contract: Contract) -> None:
        """Keep another file of the contract, which says the same to the lane."""
        self._claims = replace(self._claims, text=contract.text, file=contract.file)
        self._take_up()

    def _take_up(self) -> None:
        """Note which file runs: no lease comes with it, see lua/lease."""
        if self._claims.text:
            written = json.dumps(self._claims.written())
            self._store.call("syncd_took_up", [self._keys.lease], [self._consumer, written])

    def _known(self) -> str:
        """Where the group was at the last check; "" where there was none."""
        names = Fields.ACKNOWLEDGED, Fields.FIRST, Fields.PROOF
        said = read_fields(self._store, self._keys, *names)
        texts = {name: text for name, text in zip(names, said, strict=True) if text}
        self._history.load(texts)
        return texts.get(Fields.ACKNOWLEDGED, "")

    def _start(self, known: str) -> str:
        """Where a group begins that has to be made: at its old position if this is provably the stream that it read."""
        entry = self._history.proof_entry
        if not known or not entry:
            return ZERO
        try:
            found: Any = self._server.client.xrange(self.stream, entry, entry)
        except driver.ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return ZERO
        return known if found and self._history.proves(entry, found[0][1]) else ZERO

    def _begin_again(self) -> str:
        """Read the stream from its first entry. What comes again is there already."""
        read = self._read(ZERO)
        self._server.client.execute_command("XGROUP SETID", self.stream, self.name, ZERO, *read)
        self._history.begin_again(self._first_entry())
        self._keep({"acknowledged": ZERO, **self._history.fields()})
        self._reread, self.was_lost = False, True
        return ZERO

    def _first_entry(self) -> str:
        first = self._stream_info().get("first-entry")
        return _text(first[0]) if first else ""

    def _read(self, start: str) -> list[Any]:
        """How many entries a group at the beginning has passed: those that were removed before it existed."""
        if start != ZERO:
            return []  # somewhere in the middle, and Redis counts from where it can
        stream = self._stream_info()
        return ["ENTRIESREAD", max(0, stream.get("entries-added", 0) - stream.get("length", 0))]

    def _went_back(self) -> bool:
        """Whether the stream holds entries at or below the group's position that it has not read."""
        found: Any = self._server.client.xinfo_groups(self.stream)
        mine = next((said for said in map(_texts, found) if said["name"].decode() == self.name), None)
        return mine is not None and self._history.went_back(self._stream_state(mine))

    def _stream_state(self, mine: dict[str, Any]) -> StreamState:
        stream, delivered = self._stream_info(), mine["last-delivered-id"].decode()
        first, last = stream.get("first-entry"), stream.get("last-entry")
        is_read = not last or entry_order(_text(last[0])) <= entry_order(delivered)
        return StreamState(
            _text(stream.get("last-generated-id", ZERO)),
            _text(first[0]) if first else "",
            delivered,
            int(mine.get("lag") or 0),
            is_read,
        )

    def check_history(self) -> None:
        """To be called once a second. Raises TransientError where the stream went back; `ensure` then has it read
        again."""
        with self.translated():
            if not self._went_back():
                self._prove()
                return
        self._reread = True
        what = f"{self.stream} went back: it was made again, or its last id was set (XSETID)"
        raise TransientError("redis", f"{what}; it is read again from its first entry")

    def _prove(self) -> None:
        """Remember an entry that the group has read."""
        client, delivered = self._server.client, self._delivered
        if delivered and self._history.proof_entry != delivered:
            found: Any = client.xrange(self.stream, delivered, delivered)
            if found:
                self._history.proof = proof_of(delivered, found[0][1])
        if self._history.fields() != self._stored:
            self._stored = self._history.fields()
            self._keep(self._stored)

    def _keep(self, said: Mapping[str, str]) -> None:
        self._store.client.hset(self._keys.position, mapping=said)  # type: ignore[arg-type]

    def _stream_info(self) -> dict[str, Any]:
        try:
            found: Any = self._server.client.xinfo_stream(self.stream)
        except driver.ResponseError as error:
            if "no such key" not in str(error):
                raise
            return {}
        return _texts(found)

    def wait(self, count: int) -> Entries:
        """New entries, as soon as there are any."""
        with self.translated():
            found = self._server.client.execute_command(
                *self.reading(count), "BLOCK", BLOCK_MS, "STREAMS", self.stream, ">"
            )
        return _entries(found)

    def reading(self, count: int, consumer: str = "") -> list[Any]:
        """How a command begins that reads."""
        return ["XREADGROUP", "GROUP", self.name, consumer or self._consumer, "COUNT", count]

    def pending(self, count: int, after: str, consumer: str = "") -> Entries:
        """What a consumer, this one or another, has taken and not acknowledged."""
        with self.translated():
            found = self._server.client.execute_command(
                *self.reading(count, consumer), "STREAMS", self.stream, after
            )
        return _entries(found)

    def other_consumers(self) -> list[tuple[str, int, bool]]:
        """How many entries each has taken and not acknowledged, and whether its process is known to be gone."""
        with self.translated():
            found: Any = self._server.client.xinfo_consumers(self.stream, self.name)
        said = [_texts(one) for one in found]
        named = [(one["name"].decode(), int(one["pending"])) for one in said]
        return [(name, left, is_dead(f"{name}:0")) for name, left in named if name != self._consumer]

    def newest(self) -> str:
        """The last entry that the stream has had."""
        with self.translated():
            return _text(self._stream_info().get("last-generated-id", "0-0"))

    def remove(self, consumer: str) -> None:
        """Take a consumer off the list, unless it has left something to do."""
        with self.translated():
            self._server.call("syncd_leave", [self.stream], [self.name, consumer])

    def leave(self) -> None:
        """`remove` this consumer, which will not read again."""
        self.remove(self._consumer)

    def claim(self, count: int, idle_s: float) -> TakenEntries:
        """Entries that another consumer has taken and then kept for so long."""
        with self.translated():
            found: Any = self._server.client.xautoclaim(
                self.stream, self.name, self._consumer, round(idle_s * 1000), "0-0", count=count
            )
        gone = found[2] if len(found) > 2 else []
        return TakenEntries(_entries([(b"", found[1])]).parted()[0], len(gone))

    def acknowledge(self, entries: list[str]) -> int:
        """These are done; how many of them were not acknowledged before."""
        if not entries:
            return 0
        with self.translated():
            return int(self._server.client.xack(self.stream, self.name, *entries))

    def look_up(self, entries: list[str]) -> Entries:
        """Entries by id, without fields where they are gone."""
        pipe = self._server.client.pipeline(transaction=False)
        for entry in entries:
            pipe.xrange(self.stream, entry, entry)
        with self.translated():
            replies = pipe.execute()
        return Entries(entries, [_flat(found[0][1]) if found else [] for found in replies])

    def backlog(self) -> Backlog:
        """What is left to do; also stores how far the group is, for the day on which a person destroys it."""
        client = self._server.client
        pipe = client.pipeline(transaction=True)
        pipe.xpending(self.stream, self.name)
        pipe.xinfo_groups(self.stream)
        pipe.xlen(self.stream)
        pipe.time()
        with self.translated():
            pending, groups, length, now = pipe.execute()
            mine = next((said for said in map(_texts, groups) if said["name"].decode() == self.name), None)
            if mine is None:
                raise driver.ResponseError("NOGROUP")
            delivered = self._delivered = mine["last-delivered-id"].decode()
            first: Any = client.xrange(self.stream, f"({delivered}", "+", count=1)
            oldest = [
                entry for entry in (_text(pending["min"]), _text(first[0][0]) if first else "") if entry
            ]
            acknowledged = _before(_text(pending["min"])) if pending["pending"] else delivered
            self._store.client.hset(self._keys.position, Fields.ACKNOWLEDGED, acknowledged)
        unread = 0 if not first else length if mine.get("lag") is None else int(mine["lag"])
        ages = [clock_us(now) / 1e6 - entry_order(entry)[0] / 1000 for entry in oldest if _is_time(entry)]
        return Backlog(int(pending["pending"]) + unread, max([0.0, *ages]), acknowledged)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of the driver; the group and the type of the key are this module's business."""
        try:
            with translated():
                yield
        except FatalError as error:
            text = str(error)
            if "NOGROUP" in text or "no such key" in text:
                what = f"the consumer group {self.name} of {self.stream} is gone; it is made again"
                raise TransientError("redis", what) from error
            if "WRONGTYPE" in text:
                what = f"{self.stream} is no stream; rename that key, or name another one in the contract"
                raise FatalError("redis", what) from error
            raise


def entries_of(found: Any) -> Entries:
    """The entries of a reply as it is."""
    if not found:
        return Entries([], [])
    ((_, entries),) = found
    ids = b" ".join([entry for entry, _ in entries]).decode().split(" ")
    return Entries(ids, [said for _, said in entries])


def _entries(found: Any) -> Entries:
    """The entries of a reply whose fields the driver has put into dictionaries."""
    entries = [entry for _, entries in found or [] for entry in entries]
    return Entries([entry.decode() for entry, _ in entries], [_flat(said or {}) for _, said in entries])


def _flat(said: dict[bytes, bytes]) -> Said:
    return list(chain.from_iterable(said.items()))


def _texts(said: Any) -> dict[str, Any]:
    return {_text(name): value for name, value in said.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _is_time(entry: str) -> bool:
    return entry_order(entry)[0] >= FIRST_TIME_MS


def _before(entry: str) -> str:
    """The greatest id below one."""
    first, second = entry_order(entry)
    return f"{first}-{second - 1}" if second else f"{max(0, first - 1)}-{2**64 - 1 if first else 0}"
