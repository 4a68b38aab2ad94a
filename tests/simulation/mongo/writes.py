"""Writes under a session, which takes none of a smaller number than it has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from tests.simulation.mongo.oplog import Change, Document, Oplog, Stamp, described
from tests.simulation.mongo.query import matches, put

DUPLICATE = 11000
TOO_OLD = 225
Seen = Callable[[Stamp, Mapping[str, Any]], None]


class Done(NamedTuple):
    """What a statement did."""

    count: int
    """Documents that it has found, or made."""
    is_made: bool = False


class Writes:
    """`update` and `delete` of one replica set."""

    def __init__(self, oplog: Oplog) -> None:
        self._oplog = oplog
        self.numbers: dict[bytes, int] = {}
        """The greatest number of each session that the primary has seen."""
        self._kept: dict[bytes, int] = {}
        """The same as the oplog has it: of writes that changed something, which a majority has."""
        self.taken: Seen = _unseen
        """Told of each command that is done, and ..."""
        self.acknowledged: Seen = _unseen
        """... of each that a majority has as well."""
        oplog.told.append(self._keep)

    def _keep(self, change: Change) -> None:
        if change.stamp is not None:
            self._kept[change.stamp.session] = change.stamp.number

    def elect(self) -> None:
        """Another primary knows what the oplog says, and no more."""
        self.numbers = dict(self._kept)

    def run(self, said: Mapping[str, Any], stamp: Stamp | None) -> Document:
        """One command. Without a number there is nothing that could be too late."""
        assert stamp is not None, "syncd writes under a session"
        if "txnNumber" in said:
            seen = self.numbers.get(stamp.session, 0)
            if stamp.number < seen:
                raise OperationFailure(
                    f"a newer retryable write with txnNumber {seen} has already started", TOO_OLD
                )
            assert stamp.number > seen, "the model knows no write that is sent twice"
            self.numbers[stamp.session] = stamp.number
        self.taken(stamp, said)
        name = next(iter(said))
        one = self._update if name == "update" else self._delete
        count, errors, made = 0, [], []
        for at, statement in enumerate(said["updates" if name == "update" else "deletes"]):
            done = one(said[name], decoded(statement), stamp)
            if done is None:
                errors.append({"index": at, "code": DUPLICATE, "keyPattern": {"_id": 1}})
                continue
            count += done.count
            made += [{"index": at}] if done.is_made else []
        said_of = {"writeErrors": errors, "upserted": made}
        return {"n": count, **{name: told for name, told in said_of.items() if told}}

    def _found(self, collection: str, query: Document) -> Document | None:
        documents = (one for (name, _), one in self._oplog.current.items() if name == collection)
        return next((one for one in documents if matches(one, query)), None)

    def _update(self, collection: str, said: Document, stamp: Stamp) -> Done | None:
        """None where its `_id` is there already."""
        before = self._found(collection, said["q"])
        if before is None and not said.get("upsert"):
            return Done(0)
        document_id = _id_of(said["q"]) if before is None else before["_id"]
        if before is None and (collection, document_id) in self._oplog.current:
            return None
        after = changed(before or {"_id": document_id}, said["u"])
        if before is None:
            self._oplog.note("insert", collection, document_id, after, None, stamp=stamp)
        else:
            description = described(before, after)
            self._oplog.note("update", collection, document_id, after, description, stamp=stamp)
        return Done(1, before is None)

    def _delete(self, collection: str, said: Document, stamp: Stamp) -> Done:
        found = self._found(collection, said["q"])
        if found is not None:
            self._oplog.note("delete", collection, found["_id"], None, None, stamp=stamp)
        return Done(int(found is not None))


def changed(before: Document, said: Document) -> Document:
    """A document behind an update."""
    if not next(iter(said)).startswith("$"):
        return {"_id": before["_id"], **said}
    after = deepcopy(before)
    for path, value in said.get("$set", {}).items():
        put(after, path, value)
    for path in said.get("$unset", {}):
        after.pop(path, None)
    return after


def decoded(statement: Any) -> Document:
    """As the server has it."""
    return bson.decode(statement.raw) if isinstance(statement, RawBSONDocument) else dict(statement)


def _id_of(query: Document) -> Any:
    said = query["_id"]
    return said["$eq"] if isinstance(said, dict) else said


def _unseen(stamp: Stamp, said: Mapping[str, Any]) -> None:
    return None
