"""Replies of MongoDB, of which one document that the driver cannot read, or reads as another one, must not take the
others along: it is read member by member, see `syncd.plan.values.raw`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from syncd.plan.values.codec import CODEC
from syncd.plan.values.raw import DOCUMENT, elements, may_be_inexact, read
from syncd.stores.mongo.times import Moment, moment

RAW_CODEC: Any = CODEC.with_options(document_class=RawBSONDocument)
"""With it a reply is no more than its bytes."""
WHOLE = "_syncd_whole"
"""The member of an answer that is a document itself."""


def documents_in(reply: RawBSONDocument) -> list[dict[str, Any]]:
    """What a `find` or an aggregation answers, `_id` as it is."""
    return _each(reply, "firstBatch", _is_exact, _read_document)


def document_in(raw: RawBSONDocument) -> dict[str, Any]:
    """One document of a cursor with RAW_CODEC."""
    found: dict[str, Any] = _one(bytes(raw.raw), _is_exact, _read_document)
    return found


def events_in(reply: RawBSONDocument, name: str) -> list[dict[str, Any]]:
    """What a change stream answers."""
    return _each(reply, name, _is_exact_event, _read_event)


def moment_of(reply: RawBSONDocument) -> Moment:
    """When a read happened. A collection that does not exist has no snapshot: then the time of the answer."""
    cursor: Any = reply["cursor"]
    return moment(cursor.get("atClusterTime", reply["operationTime"]))


def _each(
    reply: RawBSONDocument, name: str, is_exact: Callable[[Any], bool], read_one: Callable[[bytes], Any]
) -> list[dict[str, Any]]:
    raw: Any = reply["cursor"]
    try:
        found: list[Any] = bson.decode(reply.raw, CODEC)["cursor"][name]
    except BSONError:
        return [_one(bytes(document.raw), is_exact, read_one) for document in raw[name]]
    for at in [at for at, document in enumerate(found) if not is_exact(document)]:
        found[at] = read_one(bytes(raw[name][at].raw))  # a memoryview, where it is large
    return found


def _one(document: bytes, is_exact: Callable[[Any], bool], read_one: Callable[[bytes], Any]) -> Any:
    try:
        found = bson.decode(document, CODEC)
    except BSONError:
        return read_one(document)
    return found if is_exact(found) else read_one(document)


def _is_exact(document: Any) -> bool:
    # A member `$ref` makes a DBRef of a document that is none.
    if type(document) is not dict or may_be_inexact(document.get("_id")):
        return False
    return WHOLE not in document or _is_exact(document[WHOLE])


def _is_exact_event(event: Any) -> bool:
    whole, key = event.get("fullDocument"), event.get("documentKey")
    return (whole is None or type(whole) is dict) and (key is None or _is_exact(key))


def _read_document(document: bytes) -> dict[str, Any]:
    return _read(document, {WHOLE.encode()})


def _read_event(event: bytes) -> dict[str, Any]:
    return _read(event, {b"fullDocument", b"documentKey"})


def _read(document: bytes, documents: set[bytes]) -> dict[str, Any]:
    found = read(document)
    for one in elements(document):
        if one.name in documents and one.kind == DOCUMENT:
            found[one.name.decode()] = read(one.value)
    return found
