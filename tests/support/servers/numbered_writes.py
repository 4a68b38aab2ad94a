"""Writes that carry the number of a session, as a mongos passes them on to the shards."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bson.binary import Binary
from bson.int64 import Int64
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.support.servers.chunk_table import ChunkTable

if TYPE_CHECKING:
    from tests.support.servers.sharded import ShardedCluster

Document = dict[str, Any]

_STATEMENTS = {"insert": "documents", "update": "updates", "delete": "deletes"}
TRIES = 10
_STALE = 13388
_MOVES = "Must run update to shard key field"
"""What a shard says of a document that would belong to another shard."""


class Writes:
    """Of one cluster. Where a collection is not sharded, or by `_id`, each shard gets its statements with the session
    and its number, so that it knows a repetition and refuses a smaller number. Elsewhere they go without."""

    def __init__(self, cluster: ShardedCluster) -> None:
        self._cluster = cluster

    def write(self, database: str, command: Document) -> Document:
        """The reply of all shards together."""
        name = next(iter(command))
        self._cluster.create_database(database)
        said: Document = {"n": 0}
        left = list(range(len(command[_STATEMENTS[name]])))
        for _ in range(TRIES):
            table = self._cluster.table(f"{database}.{command[name]}")
            if list(table.key) not in ([], ["_id"]):
                return self._without_number(database, name, command)
            left = self._write(database, name, command, table, left, said)
            if not left:
                return said
            time.sleep(0.1)
        raise AssertionError("the shards do not take the table of chunks")

    def _write(
        self,
        database: str,
        name: str,
        command: Document,
        table: ChunkTable,
        wanted: list[int],
        said: Document,
    ) -> list[int]:
        """Some statements, of which the places are returned for which the table is too old."""
        statements = command[_STATEMENTS[name]]
        numbers = command.get("stmtIds") or range(len(statements))
        places: dict[str, list[int]] = defaultdict(list)
        owners = table.owners([{"_id": _id_of(name, statements[at])} for at in wanted])
        for at, shard in zip(wanted, owners, strict=True):
            places[shard].append(at)
        left: list[int] = []
        for shard, at in places.items():
            part = {
                _STATEMENTS[name]: [statements[one] for one in at],
                "stmtIds": [numbers[one] for one in at],
                **({"shardVersion": table.version(shard)} if table.key else {}),
            }
            reply = self._send(shard, database, {**command, **part})
            errors = reply.pop("writeErrors", [])
            stale = [one["index"] for one in errors if one["code"] == _STALE]
            if stale and command.get("ordered", True):
                stale = [*range(stale[0], len(at))]
            left += [at[one] for one in stale]
            reply["writeErrors"] = [one for one in errors if one["code"] != _STALE]
            _add(said, reply, at)
        return left

    def _send(self, shard: str, database: str, command: Document) -> Document:
        """In the session that it names."""
        own = {name: value for name, value in command.items() if name not in ("lsid", "$db", "$clusterTime")}
        client = self._cluster.clients[shard]
        with client.start_session(causal_consistency=False) as session:
            said: Any = session.session_id
            before, said["id"] = said["id"], command["lsid"]["id"]
            try:
                return client[database].command(own, session=session)
            finally:
                said["id"] = before

    def _without_number(self, database: str, name: str, command: Document) -> Document:
        """One statement after another, by the router."""
        plain = {one: command[one] for one in ("ordered", "writeConcern") if one in command}
        said: Document = {"n": 0}
        with MongoClient[Document](self._cluster.uri, retryWrites=False) as client:
            for at, one in enumerate(command[_STATEMENTS[name]]):
                part = {name: command[name], _STATEMENTS[name]: [one], **plain}
                reply = client[database].command(part)
                if _must_move(reply):
                    reply = self._move(client, database, command[name], one)
                _add(said, reply, [at])
        return said

    def _move(self, client: MongoClient[Document], database: str, name: str, one: Document) -> Document:
        """A change of the shard key: a deletion and an insert in one transaction of two shards, committed by the
        first of them."""
        if (document := client[database][name].find_one(one["q"])) is None:
            return {"n": 0, "nModified": 0}
        then = (
            {**document, **one["u"]["$set"]} if "$set" in one["u"] else {**one["u"], "_id": document["_id"]}
        )
        refused: Any = None
        for _ in range(TRIES):
            table = self._cluster.table(f"{database}.{name}")
            source, target = table.owners([document, then])
            if source == target:  # a chunk has moved meanwhile
                refused = reply = client[database].command({"update": name, "updates": [one]})
                if not _must_move(reply):
                    return reply
                time.sleep(0.1)
                continue
            gone = {"q": {path: document[path] for path in ("_id", *table.key)}, "limit": 1}
            statements = [
                (source, {"delete": name, "deletes": [gone], "coordinator": True}),
                (target, {"insert": name, "documents": [then]}),
            ]
            refused = self._commit(database, statements, table)
            if refused is None:
                return {"n": 1, "nModified": 1}
            time.sleep(0.1)  # a shard that has not heard of a chunk that moved hears of it by this
        raise AssertionError(f"the shards do not take the transaction: {refused}")

    def _commit(self, database: str, statements: list[tuple[str, Document]], table: ChunkTable) -> Any:
        """One transaction of several shards; why one of them did not take its statement."""
        session = {"id": Binary.from_uuid(uuid.uuid4())}
        part = {"lsid": session, "txnNumber": Int64(1), "autocommit": False}
        begun: list[str] = []
        for shard, said in statements:
            begin = {**part, "startTransaction": True, "shardVersion": table.version(shard)}
            begin["readConcern"] = {"level": "snapshot"}
            try:
                refused = self._send(shard, database, {**said, **begin}).get("writeErrors")
            except OperationFailure as error:
                refused = error.details
            if refused:
                for one in (*begun, shard):
                    with suppress(OperationFailure):  # what it refused it may have ended itself
                        self._send(one, "admin", {"abortTransaction": 1, **part})
                return refused
            begun.append(shard)
        participants = [{"shardId": shard} for shard, _ in statements]
        commit = {
            "coordinateCommitTransaction": 1,
            "participants": participants,
            "writeConcern": {"w": "majority"},
        }
        self._send(statements[0][0], "admin", {**commit, **part})
        return None


def _must_move(reply: Document) -> bool:
    return any(_MOVES in error["errmsg"] for error in reply.get("writeErrors", ()))


def _id_of(name: str, statement: Document) -> Any:
    found = statement["_id"] if name == "insert" else statement["q"]["_id"]
    return found["$eq"] if isinstance(found, dict) and list(found) == ["$eq"] else found


def _add(said: Document, reply: Document, places: Sequence[int]) -> None:
    """Of one shard, whose statements have these places in the whole."""
    for count in ("n", "nModified"):
        if count in reply:
            said[count] = said.get(count, 0) + reply[count]
    for name in ("writeErrors", "upserted"):
        if found := reply.get(name):
            said.setdefault(name, []).extend({**one, "index": places[one["index"]]} for one in found)
    if "writeConcernError" in reply:
        said["writeConcernError"] = reply["writeConcernError"]
