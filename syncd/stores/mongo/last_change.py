"""How far back to a position nothing has happened to a collection, by a read of MongoDB's oplog.

A change stream answers when it has found a change, or come to the end: behind millions of entries of others that takes
minutes on a slow server, nothing is known until then, and a restart begins again. The oplog itself can be read in
pieces, and in a third of the time. Needs the right to read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bson.timestamp import Timestamp
from pymongo import ReadPreference
from pymongo import errors as driver
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import Moment, moment, timestamp

QUICK_S, SLOW_S = 0.25, 1.0
"""Pieces that take less get larger, and those that take more smaller."""
LIMIT_MS = 5_000
WIDEST_S = 86_400
_OF_ANOTHER = (
    "create", "createIndexes", "startIndexBuild", "commitIndexBuild", "abortIndexBuild", "dropIndexes",
    "deleteIndexes", "collMod", "drop", "emptycapped",
)  # fmt: skip
"""Commands that name one collection, and say nothing of the others of the database."""


def concerning(database: str, collection: str) -> Document:
    """Entries that may be changes of a collection: what is not known for certain to be of another one."""
    name, commands = f"{database}.{collection}", f"{database}.$cmd"
    others: list[Document] = [{f"o.{word}": {"$exists": True, "$ne": collection}} for word in _OF_ANOTHER]
    others.append({"o.renameCollection": {"$exists": True, "$ne": name}, "o.to": {"$ne": name}})
    # A transaction of several entries is reported at its last one.
    transactions: list[Document] = [
        {"o.applyOps": {"$exists": False}},
        {"o.applyOps.ns": {"$in": [name, commands]}},
        {"prevOpTime.ts": {"$gt": Timestamp(0, 0)}},
    ]
    return {
        "$or": [
            {"ns": name},
            {"ns": commands, "$nor": others},
            {"ns": "admin.$cmd", "$or": transactions},
        ]
    }


class Quiet:
    """Of one collection."""

    def __init__(self, store: MongoStore, database: str, collection: str) -> None:
        self._oplog: Collection[Document] = store.client["local"].get_collection(
            "oplog.rs", read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
        )
        self._concerning = concerning(database, collection)
        self._width = 1

    def moments(self, since: Moment, *, inclusive: bool) -> Iterator[Moment]:
        """Moments, each later than the one before: from `since` to there, exclusive, nothing has happened. Ends where
        something has, at the end of the oplog, and at any error. `inclusive`: changes of `since` itself count."""
        try:
            if inclusive or self._is_single(since):
                yield from self._moments(since, "$gte" if inclusive else "$gt")
        except driver.PyMongoError:  # the stream meets it as well, or we may not read it
            return

    def _is_single(self, time_of: Moment) -> bool:
        """Whether the entry of this moment is one change, and not a transaction, whose changes share a moment."""
        found = self._oplog.find_one({"ts": timestamp(time_of)}, {"op": 1}, max_time_ms=LIMIT_MS)
        return found is not None and found.get("op") in ("i", "u", "d")

    def _moments(self, at: Moment, first: str) -> Iterator[Moment]:
        goal = self._end(-1)
        while at < goal:
            upto = min(goal, f"{int(at[:8], 16) + self._width:08X}{0:08X}")
            began = time.monotonic()
            try:
                found = self._find(at, upto, first)
            except driver.ExecutionTimeout:
                self._width = max(1, self._width // 4)
                continue
            self._adapt(time.monotonic() - began)
            if self._end(1) > at:
                return  # what was between has gone, and so has the position
            if found is None or found > at:
                yield found or upto
            if found is not None:
                return
            at, first = upto, "$gte"

    def _find(self, at: Moment, upto: Moment, first: str) -> Moment | None:
        span = {first: timestamp(at), "$lt": timestamp(upto)}
        limit = LIMIT_MS if self._width > 1 else None
        found = self._oplog.find_one({"ts": span, **self._concerning}, {"ts": 1}, max_time_ms=limit)
        return None if found is None else moment(found["ts"])

    def _adapt(self, seconds: float) -> None:
        if seconds < QUICK_S:
            self._width = min(WIDEST_S, 4 * self._width)
        elif seconds > SLOW_S:
            self._width = max(1, self._width // 2)

    def _end(self, way: int) -> Moment:
        found = self._oplog.find_one({}, {"ts": 1}, sort=[("$natural", way)], max_time_ms=LIMIT_MS)
        return moment(found["ts"]) if found else "F" * 16
