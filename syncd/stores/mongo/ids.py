"""Queries for documents by their `_id`, of any type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.timestamp import Timestamp

from syncd.plan.values.raw import DOCUMENT, POINTER, RawId, encode
from syncd.stores.paging import fitting

ONLY_ID: dict[str, Any] = {"_id": 1}
"""A projection of nothing else."""
AS_STORED: dict[str, Any] = {"_id": 1, "_syncd.pos": 1}
"""A projection that has MongoDB read the document. In an index the members of an array have no names, so that an `_id`
which is read from there may be another one than the document's."""
MOST_BYTES = 4 * 2**20
"""Of the `_id` that one query names: the query has to fit a message of 16 MB, and what is found of them as well."""
_NOT_IN_A_LIST = frozenset({Regex, DBRef, RawId})
_SMALL = frozenset(
    {
        bool,
        datetime,
        Decimal128,
        DatetimeMS,
        float,
        int,
        Int64,
        MaxKey,
        MinKey,
        ObjectId,
        Timestamp,
        type(None),
    }
)
"""Of at most 16 bytes."""


def among(ids: Sequence[Any]) -> dict[str, Any]:
    """Documents that have one of these, each taken as a value: in `$in` a regular expression is a pattern, and a name
    that begins with `$` an operator."""
    alone = [one for one in ids if not _fits_a_list(one)]
    if not alone:
        return {"_id": {"$in": list(ids)}}
    listed = [one for one in ids if _fits_a_list(one)]
    return {"$or": [{"_id": {"$in": listed}}, *({"_id": {"$eq": one}} for one in alone)]}


def apart(ids: Sequence[Any]) -> list[list[Any]]:
    """The same in parts that one query each can ask for, and whose `_id` one reply holds. An array may have members of
    other names than "0", "1" and so on. Of several `_id` of which one holds such an array `among` keeps MongoDB busy
    for ever: it has its own part."""
    if {*map(type, ids)} <= _SMALL:
        return [list(ids)]
    parts = [*pieces([one for one in ids if not _may_loop(one)]), *([one] for one in ids if _may_loop(one))]
    return parts or [[]]


def pieces(ids: Sequence[Any]) -> Iterator[list[Any]]:
    """Such values in their order, MOST_BYTES at once or a single one."""
    return fitting(ids, _size, MOST_BYTES)


def questions(collection: str, ids: Sequence[Any], said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Commands for what MongoDB says of each of these, whether there is a document or not."""
    # `$facet` gives one document from none. `$documents` would be plainer, and needs rights on the whole database.
    for part in pieces(ids):
        yield {
            "aggregate": collection,
            "pipeline": [
                {"$match": {"$expr": False}},
                {"$facet": {"none": [{"$limit": 1}]}},
                {"$project": {"said": {"$map": {"input": {"$literal": part}, "in": said}}}},
            ],
            "cursor": {},
        }


def _size(document_id: Any) -> int:
    """In bytes, or more."""
    kind = type(document_id)
    if kind in _SMALL:
        return 16
    if kind is str:
        return 16 + 4 * len(document_id)
    return len(encode({"_id": document_id}))


def _may_loop(document_id: Any) -> bool:
    return type(document_id) is RawId and document_id.kind == DOCUMENT


def _fits_a_list(document_id: Any) -> bool:
    if type(document_id) is dict:
        return not next(iter(document_id), "").startswith("$")
    return type(document_id) not in _NOT_IN_A_LIST


def behind(cursor: dict[str, Any] | None, last: dict[str, Any] | None) -> dict[str, Any]:
    """The query for all `_id` behind the one and up to the other."""
    # A bare {_id: {$gt: last}} compares within one BSON type and skips all others without an error.
    parts: list[dict[str, Any]] = []
    if cursor is not None and is_pointer(cursor["_id"]):
        parts.append({"_id": {"$ne": cursor["_id"]}})
    elif cursor is not None:
        parts.append({"$expr": {"$gt": ["$_id", {"$literal": cursor["_id"]}]}})
    if last is not None:
        parts.append({"$expr": {"$lte": ["$_id", {"$literal": last["_id"]}]}})
    return {"$and": parts} if len(parts) > 1 else parts[0] if parts else {}


def least(cursor: dict[str, Any] | None) -> dict[str, Any]:
    """What a `find` by the index of `_id` needs beside `behind`."""
    return {"min": cursor} if cursor is not None and is_pointer(cursor["_id"]) else {}


def is_pointer(document_id: Any) -> bool:
    """Whether it is a DBPointer. An index has these in another order than `$expr` compares them in."""
    return type(document_id) is RawId and document_id.kind == POINTER


def raw_command(command: dict[str, Any]) -> dict[str, Any]:
    """A command with the parts that may hold an `_id` as bytes: the driver cannot write every one."""
    said: dict[str, Any] = {
        name: RawBSONDocument(encode(part)) if isinstance(part, dict) else part
        for name, part in command.items()
    }
    if "pipeline" in said:
        said["pipeline"] = [RawBSONDocument(encode(stage)) for stage in said["pipeline"]]
    return said
