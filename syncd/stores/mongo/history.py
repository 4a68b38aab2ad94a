"""Which MongoDB this is, and whether its history is the one that a position comes from.

A resume token that stands for no change fits any history, and the clock goes on after a restore. So a position names
its deployment, and an entry of the oplog that a majority had before it: its time, its term and its wall clock.
"""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple, Self

from pymongo import ReadPreference
from pymongo import errors as driver
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from syncd import telemetry
from syncd.errors import PositionLostError, StoreError
from syncd.stores.mongo.store import Document, MongoStore, translated
from syncd.stores.mongo.times import Moment, moment, parse, readable, timestamp

LATEST_S = 1.0
"""All lanes ask for the latest entry; it is kept for so long."""
LOOK_MS = 20_000
AGAIN_S = 60.0
"""Rights that are missing may be granted."""
_SHARDED = "sharded cluster"
_ENTRY = {"ts": 1, "t": 1, "wall": 1}


class Witness(NamedTuple):
    """An entry of the oplog. Its time alone would not do: an idle server notes something every ten seconds."""

    time: Moment
    term: int
    wall: int
    """Epoch milliseconds."""

    @classmethod
    def of(cls, entry: Document) -> Self:
        """From the entry itself."""
        wall = entry.get("wall")
        return cls(moment(entry["ts"]), int(entry.get("t", 0)), round(wall.timestamp() * 1000) if wall else 0)

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """The reverse of `str`; None where it is empty. Raises ValueError."""
        if not text:
            return None
        time_of, term, wall = text.split(" ")
        return cls(parse(time_of), int(term), int(wall))

    def __str__(self) -> str:
        return f"{readable(self.time)} {self.term} {self.wall}"


class History:
    """Of one deployment, shared by all lanes. Thread-safe. Raises StoreError."""

    def __init__(self, store: MongoStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._latest: Witness | None = None
        self._read = float("-inf")
        self._refused: dict[str, float] = {}

    def deployment(self) -> str:
        """Name and id of the replica set or the cluster; the name alone where we may not ask for the id."""
        hello = self._hello()
        if _is_sharded(hello):
            name, found = _SHARDED, self._allowed("config.version", "clusterId")
        else:
            name, found = str(hello.get("setName", "")), self._allowed("local.system.replset", "settings")
            found = (found or {}).get("replicaSetId")
        return f"{name}/{found}" if found else name

    def _allowed(self, collection: str, field: str) -> Any:
        """A field of the only document of a collection, if we may read it."""
        database, _, name = collection.partition(".")
        document = self._if_allowed(
            collection, lambda: self._collection(database, name).find_one({}, {field: 1})
        )
        return (document or {}).get(field)

    def server(self) -> str:
        """The process that answers, and the election that made it the primary: another history has others. Empty behind
        a mongos, of which there may be several."""
        hello = self._hello()
        if _is_sharded(hello):
            return ""
        process = hello.get("topologyVersion", {}).get("processId")
        return f"{hello.get('setName')} {process} {hello.get('electionId')}"

    def _hello(self) -> Document:
        with translated():
            hello: Document = self._store.client.admin.command("hello")
        return hello

    def require(self, deployment: str, witness: str, event: Moment | None) -> bool:
        """That a position is of this deployment, and of its history. `event` is the time of its last change.

        Raises PositionLostError. False where the oplog cannot be read: then the event is still in question.
        """
        here = self.deployment()
        if not is_same(deployment, here):
            raise PositionLostError(
                "mongo",
                f"the position is of another MongoDB ({deployment}) than SYNCD_MONGO_URI names ({here})",
            )
        if here.startswith(_SHARDED):
            return False
        wanted = Witness.decode(witness)
        known = [self._has(wanted.time, wanted)] if wanted else []
        known += [self._has(event, None)] if event else []
        if False in known:
            raise PositionLostError(
                "mongo", "the history of MongoDB is not the one of the position: the data were restored"
            )
        return None not in known or "local.oplog.rs" not in self._refused

    def _has(self, time_of: Moment, wanted: Witness | None) -> bool | None:
        """Whether the oplog has an entry, None where it does not reach back to it, or may not be read."""

        def read() -> bool | None:
            # By equality: MongoDB goes to the entry at once, however long the oplog is.
            found = self._oplog().find_one({"ts": timestamp(time_of)}, _ENTRY, max_time_ms=LOOK_MS)
            if found is not None:
                return wanted is None or Witness.of(found) == wanted
            first = self._oplog().find_one({}, {"ts": 1}, sort=[("$natural", 1)], max_time_ms=LOOK_MS)
            return None if first is None or moment(first["ts"]) > time_of else False

        answer: bool | None = self._if_allowed("local.oplog.rs", read)
        return answer

    def latest(self) -> Witness | None:
        """The last entry that a majority has, or had a moment ago. None behind a mongos, which shows no oplog."""
        if self._store.is_sharded:
            return None
        with self._lock:
            if time.monotonic() - self._read > LATEST_S:
                self._read = time.monotonic()
                self._latest = self._if_allowed("local.oplog.rs", self._read_latest)
            return self._latest

    def _read_latest(self) -> Witness | None:
        # What no majority has may be rolled back, and would be missed then.
        oplog = self._oplog("majority")
        found = oplog.find_one({}, _ENTRY, sort=[("$natural", -1)], max_time_ms=LOOK_MS)
        return None if found is None else Witness.of(found)

    def _oplog(self, level: str = "local") -> Collection[Document]:
        return self._collection("local", "oplog.rs", level)

    def _collection(self, database: str, name: str, level: str = "local") -> Collection[Document]:
        return self._store.client[database].get_collection(
            name, read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern(level)
        )

    def _if_allowed(self, what: str, read: Any) -> Any:
        """What `read` returns; None where we may not read, which is logged once."""
        if time.monotonic() < self._refused.get(what, 0.0):
            return None
        try:
            with translated():
                answer = read()
        except StoreError as error:
            if not isinstance(error.__cause__, driver.OperationFailure) or not _is_refusal(error.__cause__):
                raise
            if what not in self._refused:
                telemetry.history_hidden(what)
            self._refused[what] = time.monotonic() + AGAIN_S
            return None
        self._refused.pop(what, None)
        return answer


def _is_sharded(hello: Document) -> bool:
    return bool(hello.get("msg") == "isdbgrid")


def _is_refusal(error: driver.OperationFailure) -> bool:
    return error.code in (13, 8000) or "not authorized" in str(error)


def is_same(one: str, other: str) -> bool:
    """Whether two names may be of the same deployment: what is not known on one side says nothing."""
    (name, _, ident), (second, _, other_ident) = one.rpartition("/"), other.rpartition("/")
    # Without an id the whole is the name.
    name, ident = (name, ident) if name else (ident, "")
    second, other_ident = (second, other_ident) if second else (other_ident, "")
    return not one or not other or (name == second and (not ident or not other_ident or ident == other_ident))
