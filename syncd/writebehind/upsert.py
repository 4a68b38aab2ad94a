"""Writes the state of keys into their documents: an older state never over a newer one, nothing after a successor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import bson
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError
from bson.min_key import MinKey
from bson.raw_bson import RawBSONDocument
from pymongo.read_concern import ReadConcern

from syncd.errors import CapabilityError, ProjectionError, TransientError
from syncd.plan.append import LARGEST_DOCUMENT
from syncd.plan.key_encode import encode_key_value
from syncd.plan.state import StatePlan, Update
from syncd.stores.mongo import MongoStore, translated
from syncd.writebehind.batch import Refused
from syncd.writebehind.positions import NEVER, milliseconds
from syncd.writebehind.session import ContractSession
from syncd.writebehind.writer import refusal

MOST_STATEMENTS = 1000
MOST_BYTES = 16 * 1024 * 1024
_DUPLICATE = {11000, 11001, 12582}


class Change(NamedTuple):
    """What becomes of the document of one key."""

    key: bytes
    id: Any
    position: str
    """Of the read. A document of a later one is left alone."""
    update: Update | None
    """None where the key was deleted."""
    deleted: str = NEVER
    """The position of the deletion: a document that was read behind it shows a key that came later."""


@dataclass(slots=True)
class Written:
    """What became of changes."""

    refused: dict[bytes, Refused] = field(default_factory=dict)
    """By key: those that never will be written."""
    ahead: str = ""
    """The latest position of documents that were left alone, because it lies behind the read."""
    late: list[Change] = field(default_factory=list)
    """The changes of these documents."""


class StateWriter:
    """Of one contract. `number` is larger than any that a daemon before has used."""

    def __init__(
        self, mongo: MongoStore, plan: StatePlan, session: ContractSession, site: str, number: int
    ) -> None:
        self._mongo, self._plan, self._session, self._site, self._number = mongo, plan, session, site, number
        self._database_name, self._name = plan.namespace
        self._database = mongo.client[self._database_name]
        self._tombstone = plan.contract.sync.on_delete == "tombstone"

    def begin(self) -> None:
        """Look at the collection, and fence off the daemons before. Raises CapabilityError, FencedError."""
        require_collection(self._mongo, self._plan)
        # It matches nothing. Its number is what counts: smaller ones are refused from now on.
        nothing = {"q": {"_id": MinKey(), "_syncd": MinKey()}, "u": {"$set": {"_syncd": None}}}
        self._send("update", "updates", [nothing])

    def keep(self) -> None:
        """Once a second."""
        self._session.keep()

    def write(self, changes: Sequence[Change]) -> Written:
        """All changes, of different keys. Raises TransientError where it is not sure; then they may come again."""
        written = Written()
        updates: list[tuple[Change, RawBSONDocument]] = []
        for change in changes:
            try:
                if change.update is not None or self._tombstone:
                    updates.append((change, self._update(change)))
            except ProjectionError as error:
                written.refused[change.key] = Refused(error.reason, error.detail)
        for part in _parts(updates):
            self._write_updates(part, written)
        on_delete = self._plan.contract.sync.on_delete
        gone = [change for change in changes if change.update is None]
        if gone and on_delete != "ignore":
            self._remove(gone, written)
        if written.late:
            self._look_ahead(written)
        return written

    def _update(self, change: Change) -> RawBSONDocument:
        syncd: dict[str, Any] = {"_syncd.pos": change.position, "_syncd.site": self._site}
        if change.update is None:
            moment = change.deleted if change.deleted > NEVER else change.position
            deleted = DatetimeMS(milliseconds(moment))
            said: dict[str, Any] = {"$set": {**syncd, "_syncd.deleted": deleted}}
        else:
            gone = dict.fromkeys([*change.update.unset, "_syncd.deleted"], "")
            said = {"$set": {**change.update.set, **syncd}, "$unset": gone}
        statement = {"q": self._of(change), "u": said, "upsert": change.update is not None}
        try:
            encoded = bson.encode(statement)
        except (BSONError, OverflowError):
            detail = "an integer beyond 64 bits, or a name that BSON cannot hold"
            raise ProjectionError("unsupported_type", detail) from None
        if len(encoded) > LARGEST_DOCUMENT:
            raise ProjectionError(
                "document_too_large", f"{len(encoded)} bytes, MongoDB takes {LARGEST_DOCUMENT}"
            )
        return RawBSONDocument(encoded)

    @staticmethod
    def _of(change: Change) -> dict[str, Any]:
        """The document, unless it is of a later read, or of one that came behind the deletion."""
        told = change.update is None and change.deleted > NEVER
        behind = {"$gte": change.deleted} if told else {"$gt": change.position}
        return {"_id": {"$eq": change.id}, "_syncd.pos": {"$not": behind}}

    def _write_updates(self, part: list[tuple[Change, RawBSONDocument]], written: Written) -> None:
        reply = self._send("update", "updates", [statement for _, statement in part])
        for error in reply.get("writeErrors", ()):
            change, code = part[error["index"]][0], int(error["code"])
            if code not in _DUPLICATE:
                written.refused[change.key] = refusal(code, error)
            elif set(error.get("keyPattern", {"_id": 1})) == {"_id"}:
                written.late.append(change)  # it is there, and the filter left it alone
            else:
                names = ", ".join(error["keyPattern"])
                detail = f"another document has the same {names}, and an index wants it unique"
                written.refused[change.key] = Refused("duplicate_key", detail)

    def _remove(self, gone: list[Change], written: Written) -> None:
        """Documents of keys that were deleted; tombstones are written by now. Some may be of a later time, as it seems:
        then Redis went back."""
        removed = 0
        for start in range(0, 0 if self._tombstone else len(gone), MOST_STATEMENTS):
            part = gone[start : start + MOST_STATEMENTS]
            statements = [{"q": self._of(change), "limit": 1} for change in part]
            reply = self._send("delete", "deletes", statements)
            removed += reply["n"]
            for error in reply.get("writeErrors", ()):
                written.refused[part[error["index"]].key] = refusal(int(error["code"]), error)
        if removed < len(gone):
            there = self._positions(gone)
            late = [change for change in gone if there.get(_name(change.id), "") > change.position]
            written.late += late

    def _look_ahead(self, written: Written) -> None:
        there = self._positions(written.late)
        if len(there) < len({_name(change.id) for change in written.late}):
            raise TransientError("mongo", "a document is there but not yet on a majority; waiting for it")
        written.ahead = max(there.values())

    def _positions(self, changes: Sequence[Change]) -> dict[str, str]:
        """Of the documents that are there, by the text of their `_id`."""
        collection = self._database.get_collection(self._name, read_concern=ReadConcern("majority"))
        wanted = {"_id": {"$in": [change.id for change in changes]}}
        with translated():
            found = list(collection.find(wanted, {"_syncd.pos": 1}))
        return {_name(document["_id"]): _position(document) for document in found}

    def _send(self, name: str, key: str, statements: list[Any]) -> dict[str, Any]:
        self._number += 1
        command = {name: self._name, key: statements, "ordered": False}
        return self._session.write(self._database_name, command, self._number)


def require_collection(mongo: MongoStore, plan: StatePlan) -> None:
    """Raise CapabilityError where documents cannot be replaced."""
    database, name = plan.namespace
    with translated():
        found = list(mongo.client[database].list_collections(filter={"name": name}))
    if (kind := found[0].get("type") if found else "collection") != "collection":
        what = f"{database}.{name} is a {kind}, whose documents cannot be replaced"
        raise CapabilityError("mongo", f"{what}; name an ordinary collection")


def _name(document_id: Any) -> str:
    """The same for ids that MongoDB holds equal."""
    return encode_key_value(document_id)


def _position(document: dict[str, Any]) -> str:
    return str(document.get("_syncd", {}).get("pos", ""))


def _parts(updates: list[tuple[Change, RawBSONDocument]]) -> Iterator[list[tuple[Change, RawBSONDocument]]]:
    """As many as fit one command."""
    part: list[tuple[Change, RawBSONDocument]] = []
    size = 0
    for update in updates:
        length = len(update[1].raw)
        if part and (len(part) == MOST_STATEMENTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(update)
        size += length
    if part:
        yield part
