"""The MongoDB side of a merge: a document is changed only where it is still what was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.read_concern import ReadConcern

from syncd.errors import ProjectionError
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.append import LARGEST_DOCUMENT
from syncd.plan.values.codec import CODEC
from syncd.plan.values.raw import RawId, element_at, encode, read
from syncd.stores.mongo.ids import among
from syncd.stores.mongo.reads.replies import RAW_CODEC
from syncd.stores.mongo.store import Document, MongoStore, translated
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.append.writer import refusal, send_statements
from syncd.to_mongo.fences import Fences
from syncd.to_mongo.session import ContractSession
from syncd.to_mongo.state.positions import of_time

Stored: TypeAlias = Mapping[str, RawId]
"""Members of a document by their paths, byte for byte."""

_DUPLICATE = {11000, 11001, 12582}


class DocumentUpdate(NamedTuple):
    """What to write to one document."""

    key: bytes
    id: Any
    read: Document | None
    """The document as it was read; None where there was none."""
    sets: Mapping[str, Any]
    unsets: Sequence[str]
    delete: bool = False


@dataclass(slots=True)
class UnwrittenDocuments:
    """Updates that were not written, by key."""

    missed: set[bytes] = field(default_factory=set)
    """The document had changed since it was read."""
    refused: dict[bytes, Refused] = field(default_factory=dict)


class DocumentWriter:
    """Of one contract. `number` is larger than any that a daemon before has used."""

    def __init__(
        self, mongo: MongoStore, plan: TwoWayPlan, session: ContractSession, site: str, number: int
    ) -> None:
        self._plan, self._session, self._site, self._number = plan, session, site, number
        self._database_name, self._name = plan.namespace
        self._fences = Fences(mongo, plan.namespace)
        self._collection = mongo.client[self._database_name].get_collection(
            self._name, codec_options=CODEC, read_concern=ReadConcern("majority")
        )

    def begin(self) -> None:
        """From here on, writes of earlier daemons are refused."""
        self._send(self._database_name, {"update": self._name, "updates": self._fences.all()})

    def keep(self) -> None:
        """Once a second."""
        self._session.keep()
        if fences := self._fences.due():
            self._send(self._database_name, {"update": self._name, "updates": fences})

    @property
    def next_position(self) -> str:
        """What the documents of the next `write` have as their position, and none before it."""
        return of_time(0, self._number + 1)

    def write(self, updates: Sequence[DocumentUpdate], position: str) -> UnwrittenDocuments:
        """All of them, of different documents. Raises TransientError where it is not sure."""
        written = UnwrittenDocuments()
        self._write(updates, position, written, {})
        missed = [update for update in updates if update.key in written.missed and update.read is not None]
        if missed and (stored := self._stored(missed)):
            # MongoDB keeps what the driver does not tell apart, such as a name twice, or `$id` before `$ref`.
            written.missed -= stored.keys()
            self._write([update for update in missed if update.key in stored], position, written, stored)
        return written

    def _write(
        self,
        updates: Sequence[DocumentUpdate],
        position: str,
        written: UnwrittenDocuments,
        stored: Mapping[bytes, Stored],
    ) -> None:
        self._update([update for update in updates if not update.delete], position, written, stored)
        self._delete([update for update in updates if update.delete], written, stored)

    def _stored(self, updates: Sequence[DocumentUpdate]) -> dict[bytes, Stored]:
        """The fields of documents as MongoDB holds them, where the driver still reads them as they were read."""
        raw = self._collection.with_options(RAW_CODEC)
        with translated():
            found = [bytes(one.raw) for one in raw.find(among([update.id for update in updates]))]
        there = {
            encode_key_value(document["_id"]): (document, data) for data in found for document in [read(data)]
        }
        stored: dict[bytes, Stored] = {}
        for update in updates:
            document, data = there.get(encode_key_value(update.id), ({}, b""))
            if data and self._are_alike(document, update.read or {}):
                stored[update.key] = {
                    one.path: RawId(member.kind, member.value)
                    for one in self._plan.fields
                    if (member := element_at(data, one.path.split("."))) is not None
                }
        return stored

    def _are_alike(self, one: Document, other: Document) -> bool:
        try:
            fields = [
                {s.path: found for s in self._plan.fields if (found := s.there.find(each)) is not MISSING}
                for each in (one, other)
            ]
            return bson.encode(fields[0], codec_options=CODEC) == bson.encode(fields[1], codec_options=CODEC)
        except (BSONError, OverflowError, UnicodeError):
            return False

    def record(self, conflicts: Sequence[Document]) -> None:
        """Store records of conflicts, each in the place of one of the same `_id`."""
        database, name = self._plan.conflicts
        statements = [{"q": {"_id": one["_id"]}, "u": _fitting(one), "upsert": True} for one in conflicts]
        if statements:
            reply = self._send(database, {"update": name, "updates": statements, "ordered": False})
            for refused in reply.get("writeErrors", ()):
                refusal(int(refused["code"]), refused)  # of a transient kind it raises

    def _update(
        self,
        updates: list[DocumentUpdate],
        position: str,
        written: UnwrittenDocuments,
        stored: Mapping[bytes, Stored],
    ) -> None:
        statements = []
        for update in list(updates):
            try:
                statements.append(self._statement(update, position, stored.get(update.key)))
            except ProjectionError as error:
                written.refused[update.key] = Refused(error.reason, error.detail)
                updates.remove(update)
        if not statements:
            return
        count, made = 0, set()
        for at, reply in self._send_part("update", "updates", statements):
            count += reply["n"]
            made |= {updates[at + one["index"]].key for one in reply.get("upserted", ())}
            for refused in reply.get("writeErrors", ()):
                self._not_written(updates[at + refused["index"]], refused, written)
        if count < len(updates):
            wanted = {"$and": [among([update.id for update in updates]), {"_syncd.pos": position}]}
            done = self._ids(wanted)
            missed = {update.key for update in updates if encode_key_value(update.id) not in done}
            # One that was made may be deleted by now: that is a change behind ours.
            written.missed |= missed - made - written.refused.keys()

    def _not_written(
        self, update: DocumentUpdate, error: dict[str, Any], written: UnwrittenDocuments
    ) -> None:
        code = int(error["code"])
        if code not in _DUPLICATE:
            written.refused[update.key] = refusal(code, error)
        elif set(error.get("keyPattern", {"_id": 1})) == {"_id"}:
            written.missed.add(update.key)  # another client has made it since
        else:
            names = ", ".join(error["keyPattern"])
            detail = f"another document has the same {names}, and an index wants it unique"
            written.refused[update.key] = Refused("duplicate_key", detail)

    def _statement(self, update: DocumentUpdate, position: str, stored: Stored | None) -> RawBSONDocument:
        said: dict[str, Any] = {"$set": {**update.sets, "_syncd.pos": position, "_syncd.site": self._site}}
        if update.unsets and update.read is not None:
            said["$unset"] = dict.fromkeys(update.unsets, "")
        query = self._as_read(update, stored)
        if update.read is None:
            # An upsert that matches nothing: where a document is there, its `_id` is a duplicate.
            query = {"_id": {"$eq": update.id}, "_syncd": {"$in": []}}
        try:
            encoded = _encoded({"q": query, "u": said, "upsert": update.read is None}, stored)
        except (BSONError, OverflowError):
            detail = "an integer beyond 64 bits, or a name that BSON cannot hold"
            raise ProjectionError("unsupported_type", detail) from None
        if len(encoded) > LARGEST_DOCUMENT:
            raise ProjectionError(
                "document_too_large", f"{len(encoded)} bytes, MongoDB takes {LARGEST_DOCUMENT}"
            )
        return RawBSONDocument(encoded)

    def _as_read(self, update: DocumentUpdate, stored: Stored | None) -> Document:
        """The document, while its fields are what was read, or `stored`."""
        tests: list[Any] = []
        for synced in self._plan.fields:
            found = (
                synced.there.find(update.read or {}) if stored is None else stored.get(synced.path, MISSING)
            )
            path = f"${synced.path}"
            if found is MISSING:
                tests.append({"$eq": [{"$type": path}, "missing"]})
            else:
                tests.append({"$eq": [path, {"$literal": found}]})
        return {"_id": {"$eq": update.id}, "$expr": {"$and": tests}}

    def _delete(
        self, updates: list[DocumentUpdate], written: UnwrittenDocuments, stored: Mapping[bytes, Stored]
    ) -> None:
        if not updates:
            return
        statements = []
        for update in updates:
            query = self._as_read(update, stored.get(update.key))
            statements.append(RawBSONDocument(_encoded({"q": query, "limit": 1}, stored.get(update.key))))
        removed = 0
        for at, reply in self._send_part("delete", "deletes", statements):
            removed += reply["n"]
            for error in reply.get("writeErrors", ()):
                written.refused[updates[at + error["index"]].key] = refusal(int(error["code"]), error)
        if removed < len(updates):
            there = self._ids(among([update.id for update in updates]))
            missed = {update.key for update in updates if encode_key_value(update.id) in there}
            written.missed |= missed - written.refused.keys()

    def _ids(self, query: Document) -> set[str]:
        with translated():
            return {encode_key_value(one["_id"]) for one in self._collection.find(query, {"_id": 1})}

    def _send_part(self, name: str, key: str, statements: list[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        def send(part: list[Any]) -> dict[str, Any]:
            return self._send(self._database_name, {name: self._name, key: part, "ordered": False})

        return send_statements(send, statements)

    def _send(self, database: str, command: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        return self._session.write(database, command, self._number)


def _encoded(statement: Document, stored: Stored | None) -> bytes:
    if stored is None:
        return bson.encode(statement)
    if "u" in statement:  # what is new is the driver's business
        statement = {**statement, "u": RawBSONDocument(bson.encode(statement["u"]))}
    return encode(statement)


def _fitting(record: Document) -> Document:
    """A record of two very large states leaves them out."""
    if len(bson.encode(record)) <= LARGEST_DOCUMENT:
        return record
    return {**record, "mongo": None, "redis": None, "left_out": "the values are too large for one document"}
