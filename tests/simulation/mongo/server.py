"""Commands of the model, as the driver sends them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bson.objectid import ObjectId
from pymongo.errors import CursorNotFound, OperationFailure

from syncd.stores.mongo.times import Moment, moment, timestamp
from tests.simulation.loop import Ticket, current
from tests.simulation.mongo.oplog import Change, Document, Oplog, Stamp, event_of, high_water_mark
from tests.simulation.mongo.query import matches, projected, sorted_by, staged, value_of
from tests.simulation.mongo.writes import Writes

DATABASE = "shop"
Wait = Callable[[float], bool]


@dataclass
class Cursor:
    """Of a change stream: everything up to `token` was delivered."""

    stages: list[Mapping[str, Any]]
    collection: str | None
    token: str
    is_closed: bool = False


class MongoModel:
    """One replica set. `choose` gives a number from 0 up to below another."""

    def __init__(self, now: Callable[[], float], choose: Callable[[int], int]) -> None:
        self.oplog = Oplog(now)
        self._choose = choose
        self.cursors: dict[int, Cursor] = {}
        self._numbers = itertools.count(1001)
        self.deployment = ObjectId(b"deployment#1")
        self._read: Moment = ""
        """Of the latest read."""
        self.waiting: list[Ticket] = []
        """What waits for something to be committed."""
        self.oplog.told.append(lambda change: self._wake())
        self.writes = Writes(self.oplog)

    def elect(self) -> int:
        """Another primary answers from now on. Cursors are gone with the one before."""
        self.cursors.clear()
        self._read = ""
        self._wake()
        lost = self.oplog.elect()
        self.writes.elect()
        return lost

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for ticket in waiting:
            current().wake(ticket)

    def command(self, said: Mapping[str, Any], wait: Wait, stamp: Stamp | None = None) -> Document:
        """The reply. `wait` lets time pass, at most so many seconds, until something is committed. `stamp`: of the
        session that the command is sent under."""
        name = next(iter(said))
        if name == "aggregate":
            reply = self._aggregate(said)
        elif name == "getMore":
            reply = self._more(said, wait)
        elif name == "find":
            reply = self._find(said)
        elif name in ("update", "delete"):
            reply = self._write(said, wait, stamp)
        elif name == "refreshSessions":
            reply = {}
        elif name == "killCursors":
            for number in said["cursors"]:
                self.cursors.pop(number, None)
            reply = {}
        elif name == "listCollections":
            there = said["filter"]["name"] in self.oplog.collections
            found = [{"name": said["filter"]["name"], "type": "collection", "options": {}}] if there else []
            reply = {"cursor": {"firstBatch": found}}
        elif name == "hello":
            reply = self._hello()
        else:
            raise OperationFailure(f"no such command: {name}", 59)
        return {**reply, "ok": 1.0, "operationTime": timestamp(self.oplog.latest)}

    def _write(self, said: Mapping[str, Any], wait: Wait, stamp: Stamp | None) -> Document:
        """Done, and acknowledged by a majority."""
        oplog, term = self.oplog, self.oplog.term
        reply = self.writes.run(said, stamp)
        last = oplog.latest
        while oplog.committed < last and oplog.term == term:
            if self._choose(2):
                oplog.commit()
            else:
                wait(0.05)
        if oplog.term != term:
            raise OperationFailure("the primary stepped down", 11602)
        self._read = max(self._read, last)  # of this primary, reads show it from now on
        assert stamp is not None
        self.writes.acknowledged(stamp, said)
        return reply

    def _hello(self) -> Document:
        election = ObjectId(b"election" + self.oplog.term.to_bytes(4, "big"))
        return {
            "setName": "rs", "electionId": election, "isWritablePrimary": True,
            "topologyVersion": {"processId": ObjectId(b"process00001"), "counter": 1},
        }  # fmt: skip

    def _aggregate(self, said: Mapping[str, Any]) -> Document:
        first, *stages = said["pipeline"]
        if "$changeStream" not in first:
            return self._facet(said) if "$facet" in said["pipeline"][1] else self._sorted(said)
        stage, collection = first["$changeStream"], said["aggregate"]
        oplog = self.oplog
        if "startAfter" in stage:
            token = stage["startAfter"]["_data"]
            if not _is_token(token):
                raise OperationFailure("not a token", 40647)
        elif "startAtOperationTime" in stage:
            token = high_water_mark(moment(stage["startAtOperationTime"]))
        else:
            # One step ahead of the server's own time, as a real one has it.
            token = high_water_mark(f"{int(oplog.committed, 16) + 1:016X}")
        self._require(token)
        number = next(self._numbers)
        cursor = Cursor(stages, None if collection == 1 else collection, token)
        self.cursors[number] = cursor
        if said["cursor"].get("batchSize", 1) == 0:
            return self._reply(number, "firstBatch", [], token)
        events = self._events(cursor, 1)
        return self._reply(number, "firstBatch", events, cursor.token)

    def _require(self, token: str) -> None:
        if token[2:18] < self.oplog.first:
            raise OperationFailure("Resume of change stream was not possible", 286)

    def _facet(self, said: Mapping[str, Any]) -> Document:
        """What MongoDB says of values: see Lookup."""
        answers = value_of(said["pipeline"][-1]["$project"]["said"], {})
        return {"cursor": {"id": 0, "firstBatch": [{"said": answers}]}}

    def _more(self, said: Mapping[str, Any], wait: Wait) -> Document:
        number = int(said["getMore"])
        cursor = self.cursors.get(number)
        if cursor is None:
            raise CursorNotFound("cursor not found", 43)
        self._require(cursor.token)
        events = self._events(cursor, 1 + self._choose(int(said["batchSize"])))
        if not events and not cursor.is_closed and wait(said["maxTimeMS"] / 1000):
            if number not in self.cursors:
                raise CursorNotFound("the primary stepped down", 11602)
            self._require(cursor.token)
            events = self._events(cursor, 1 + self._choose(int(said["batchSize"])))
        if cursor.is_closed:
            self.cursors.pop(number, None)
            return self._reply(0, "nextBatch", events, cursor.token)
        return self._reply(number, "nextBatch", events, cursor.token)

    def _events(self, cursor: Cursor, most: int) -> list[Document]:
        """The next ones, and the cursor behind them."""
        events: list[Document] = []
        entries = self.oplog.entries
        for at in range(self.oplog.behind(cursor.token), len(entries)):
            change = entries[at]
            if len(events) == most:
                return events
            event = self._event(change, cursor)
            if event is not None:
                events.append(event)
                cursor.token = change.token
            if change.op == "invalidate" and cursor.collection == change.collection:
                cursor.is_closed = True
                return events
        if not events or self._choose(2):
            # To the end: everything before the last moment that a majority has.
            cursor.token = max(cursor.token, high_water_mark(self.oplog.committed))
        return events

    def _event(self, change: Change, cursor: Cursor) -> Document | None:
        if change.op == "noop" or (cursor.collection not in (None, change.collection)):
            return None
        if change.op == "invalidate" and cursor.collection is None:
            return None
        event = staged(event_of(change, DATABASE), cursor.stages)
        if (
            event is not None
            and change.is_large
            and ("updateDescription" in event or "fullDocument" in event)
        ):
            self.cursors.clear()
            raise OperationFailure("BSONObj size is invalid", 10334)
        return event

    def _reply(self, number: int, name: str, events: list[Document], token: str) -> Document:
        return {"cursor": {"id": number, name: events, "postBatchResumeToken": {"_data": token}}}

    def _sorted(self, said: Mapping[str, Any]) -> Document:
        at = self._moment_of(said.get("readConcern", {}))
        batch = sorted_by([*self.oplog.at(at, said["aggregate"])], said["pipeline"])
        return {"cursor": {"id": 0, "firstBatch": batch, "atClusterTime": timestamp(at)}}

    def _find(self, said: Mapping[str, Any]) -> Document:
        at = self._moment_of(said.get("readConcern", {}))
        found = [one for one in self.oplog.at(at, said["find"]) if matches(one, said["filter"])]
        found = found[said.get("skip", 0) :]
        if "limit" in said:
            found = found[: said["limit"]]
        batch = [projected(one, said.get("projection")) for one in found]
        return {"cursor": {"id": 0, "firstBatch": batch, "atClusterTime": timestamp(at)}}

    def _moment_of(self, concern: Mapping[str, Any]) -> Moment:
        """A moment that a majority has, mostly the latest one. One primary never goes back; but the next one may not
        know yet how far a majority had come."""
        oplog = self.oplog
        if "atClusterTime" in concern:
            return moment(concern["atClusterTime"])
        after = moment(concern["afterClusterTime"]) if "afterClusterTime" in concern else ""
        if after > oplog.committed:
            oplog.commit()  # MongoDB waits until a majority has it
            while oplog.committed < after:
                oplog.note("noop", "", None, None, None)
                oplog.commit()
        if self._choose(4):
            self._read = oplog.committed
        else:
            least = max(after, self._read)
            times = [change.time for change in oplog.entries[-4:] if change.time >= least]
            self._read = times[self._choose(len(times))] if times else oplog.committed
        return self._read

    def find_one(self, query: Mapping[str, Any], order: int) -> Document | None:
        """Of `local.oplog.rs`. What a majority has; an election takes nothing of that."""
        entries = self.oplog.entries if order > 0 else reversed(self.oplog.entries)
        for change in entries:
            entry = self.oplog.as_entry(change, DATABASE)
            if change.op != "invalidate" and matches(entry, query):
                return entry
        return None

    def count(self, collection: str) -> int:
        """About how many documents there are."""
        return sum(name == collection for name, _ in self.oplog.current)


def _is_token(token: str) -> bool:
    return token[:2] == "82" and len(token) >= 26
