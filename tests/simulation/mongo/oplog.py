"""Documents and their history: what a primary has, what a majority has, and what an election takes back."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bson.timestamp import Timestamp

from syncd.stores.mongo.times import Moment, moment, timestamp
from tests.simulation.mongo.query import sort_key

Document = dict[str, Any]
Name = str
_UUID = "5A1004" + "91D889A9B4CF47C2A285F234382E07D2"


class Stamp(NamedTuple):
    """Of a write of syncd's: whose it is."""

    session: bytes
    number: int
    writer: Any
    """The process."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the oplog, or one of the changes of a transaction."""

    time: Moment
    index: int
    """Within its transaction."""
    op: str
    """insert, update, replace, delete, drop, invalidate or noop."""
    collection: Name
    document_id: Any
    after: Document | None
    description: Document | None
    term: int
    wall_ms: int
    is_large: bool = False
    """Whether its event is larger than an event may be."""
    is_single: bool = True
    """Whether it is no part of a transaction."""
    stamp: Stamp | None = None
    """None: an application's."""

    @property
    def token(self) -> str:
        """Its resume token."""
        at = "29" if self.index == 0 else f"2B{2 * self.index:02X}"
        tail = "6F" if self.op == "invalidate" else "6E"
        return f"82{self.time}2B022C0100{at}{tail}{_UUID}04"


def high_water_mark(time: Moment) -> str:
    """The token before all changes of a moment."""
    return f"82{time}2B0229" + "6E04"


@dataclass(slots=True)
class Versions:
    """The states of one document that a majority had, in order."""

    times: list[Moment] = field(default_factory=list)
    states: list[Document | None] = field(default_factory=list)

    def add(self, time: Moment, state: Document | None) -> None:
        """The latest one. Of several of one moment only the last can be seen."""
        if self.times and self.times[-1] == time:
            self.states[-1] = state
        else:
            self.times.append(time)
            self.states.append(state)

    def at(self, time: Moment) -> Document | None:
        """As of a moment."""
        at = bisect.bisect_right(self.times, time)
        return self.states[at - 1] if at else None


class Oplog:
    """All collections of one replica set. `now` gives epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.term = 1
        self.entries: list[Change] = []
        """What a majority has, since the oplog was cut off."""
        self.tail: list[Change] = []
        """What only the primary has."""
        self.current: dict[tuple[Name, Any], Document] = {}
        """Documents as the primary has them."""
        self.versions: dict[tuple[Name, Any], Versions] = {}
        self.collections: set[Name] = set()
        self._last = Timestamp(int(now()), 1)
        self.committed: Moment = moment(self._last)
        """The latest moment that a majority has."""
        self.first: Moment = self.committed
        """From here on the oplog has entries."""
        self.told: list[Callable[[Change], None]] = []
        """Called with each change that a majority has got."""
        self.note("noop", "", None, None, None)
        self.commit()

    def next_time(self) -> Moment:
        """Later than all before."""
        seconds = int(self._now())
        last = self._last
        self._last = Timestamp(seconds, 1) if seconds > last.time else Timestamp(last.time, last.inc + 1)
        return moment(self._last)

    @property
    def latest(self) -> Moment:
        """The time of the primary's last entry."""
        return moment(self._last)

    def note(
        self,
        op: str,
        collection: Name,
        document_id: Any,
        after: Document | None,
        description: Document | None,
        *,
        time: Moment | None = None,
        index: int = 0,
        is_large: bool = False,
        is_single: bool = True,
        stamp: Stamp | None = None,
    ) -> Change:
        """One more entry of the primary."""
        change = Change(
            time or self.next_time(), index, op, collection, document_id, after, description, self.term,
            round(self._now() * 1000), is_large, is_single, stamp,
        )  # fmt: skip
        self.tail.append(change)
        if op == "drop":
            for name in [name for name in self.current if name[0] == collection]:
                del self.current[name]
            self.collections.discard(collection)
        elif op not in ("noop", "invalidate"):
            self.collections.add(collection)
            if after is None:
                self.current.pop((collection, document_id), None)
            else:
                self.current[collection, document_id] = after
        return change

    def commit(self) -> None:
        """A majority has everything now."""
        tail, self.tail = self.tail, []
        for change in tail:
            self.entries.append(change)
            self.committed = change.time
            if change.op == "drop":
                for (collection, _), versions in self.versions.items():
                    if collection == change.collection and versions.states[-1] is not None:
                        versions.add(change.time, None)
            elif change.op not in ("noop", "invalidate"):
                key = change.collection, change.document_id
                self.versions.setdefault(key, Versions()).add(change.time, change.after)
        for change in tail:
            for tell in self.told:
                tell(change)

    def elect(self) -> int:
        """Another primary: what no majority had is gone. Returns how much that was."""
        lost, self.tail = len(self.tail), []
        self.term += 1
        self.current = {
            name: versions.states[-1]
            for name, versions in self.versions.items()
            if versions.states[-1] is not None
        }
        self.collections |= {name for name, _ in self.current}
        self.note("noop", "", None, None, None)
        self.commit()
        return lost

    def cut_off(self, kept: int) -> None:
        """The oldest entries go, but for so many. A transaction is one entry, which stays or goes as a whole."""
        if len(self.entries) > kept:
            self.first = self.entries[-kept].time
            del self.entries[: bisect.bisect_left(self.entries, self.first, key=lambda change: change.time)]

    def at(self, time: Moment, collection: Name) -> Iterable[Document]:
        """Documents as of a moment, in the order of `_id`."""
        found = (
            (document_id, versions.at(time))
            for (name, document_id), versions in self.versions.items()
            if name == collection
        )
        return [state for _, state in sorted(found, key=lambda one: sort_key(one[0])) if state is not None]

    def behind(self, token: str) -> int:
        """Index of the first entry behind a token."""
        return bisect.bisect_right(self.entries, token, key=lambda change: change.token)

    def as_entry(self, change: Change, database: str) -> Document:
        """As `local.oplog.rs` has it."""
        names = {"insert": "i", "update": "u", "replace": "u", "delete": "d", "drop": "c", "noop": "n"}
        is_command = change.op == "drop"
        entry: Document = {
            "ts": timestamp(change.time), "t": change.term, "op": names.get(change.op, "n"),
            "wall": datetime.fromtimestamp(change.wall_ms / 1000, UTC),
            "ns": f"{database}.$cmd" if is_command else f"{database}.{change.collection}" if change.collection else "",
            "o": {"drop": change.collection} if is_command else {},
        }  # fmt: skip
        if not change.is_single:
            # A transaction is one entry, a command.
            entry |= {
                "op": "c",
                "ns": "admin.$cmd",
                "o": {"applyOps": {"ns": f"{database}.{change.collection}"}},
            }
        return entry


def event_of(change: Change, database: str) -> Document:
    """A change as its stream tells it."""
    event: Document = {
        "_id": {"_data": change.token}, "operationType": change.op, "wallTime": float(change.wall_ms),
        "ns": {"db": database, "coll": change.collection},
    }  # fmt: skip
    if change.op in ("drop", "invalidate"):
        if change.op == "invalidate":
            del event["ns"]
        return event
    event["documentKey"] = {"_id": change.document_id}
    if change.op in ("insert", "replace"):
        event["fullDocument"] = change.after
    if change.op == "update":
        event["updateDescription"] = change.description
    return event


def described(before: Mapping[str, Any], after: Mapping[str, Any]) -> Document:
    """What an update has changed, as far as top-level fields."""
    return {
        "updatedFields": {n: v for n, v in after.items() if n not in before or before[n] != v},
        "removedFields": [name for name in before if name not in after],
        "truncatedArrays": [],
    }
