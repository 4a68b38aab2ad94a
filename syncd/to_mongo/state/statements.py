"""What MongoDB is asked for, to make a document what its key is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import bson
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from syncd.errors import ProjectionError
from syncd.plan.to_mongo.append import LARGEST_DOCUMENT
from syncd.plan.to_mongo.state import StateUpdate
from syncd.to_mongo.state.positions import NEVER, milliseconds


class Change(NamedTuple):
    """What becomes of the document of one key."""

    key: bytes
    id: Any
    position: str
    """Of the read. A document of a later one is left alone."""
    update: StateUpdate | None
    """None where the key was deleted."""
    deleted: str = NEVER
    """The position of the deletion: a document that was read behind it shows a key that came later."""


def selection(change: Change, site: str) -> dict[str, Any]:
    """The document, unless it is another site's, of a later read, or of one that came behind the deletion."""
    told = change.update is None and change.deleted > NEVER
    behind = {"$gte": change.deleted} if told else {"$gt": change.position}
    ours = {"$in": [None, *sorted({"", site})]}
    return {"_id": {"$eq": change.id}, "_syncd.pos": {"$not": behind}, "_syncd.site": ours}


def is_ours(document: Mapping[str, Any], site: str) -> bool:
    """Whether no other site has written it. One without a site counts as ours."""
    return document.get("_syncd", {}).get("site") in (None, "", site)


def statement(change: Change, site: str) -> RawBSONDocument:
    """One of an `update` command: the state of a key, or the tombstone that it was deleted."""
    syncd: dict[str, Any] = {"_syncd.pos": change.position, "_syncd.site": site}
    if change.update is None:
        moment = change.deleted if change.deleted > NEVER else change.position
        said: dict[str, Any] = {"$set": {**syncd, "_syncd.deleted": DatetimeMS(milliseconds(moment))}}
    else:
        gone = dict.fromkeys([*change.update.unset, "_syncd.deleted"], "")
        said = {"$set": {**change.update.set, **syncd}, "$unset": gone}
    return _encoded({"q": selection(change, site), "u": said, "upsert": change.update is not None})


def document(change: Change, site: str) -> RawBSONDocument:
    """The whole document, where there is none: the same that `statement` would make."""
    assert change.update is not None
    whole: dict[str, Any] = {"_id": change.id}
    for path, value in change.update.set.items():
        *outer, last = path.split(".")
        inside = whole
        for name in outer:
            inside = inside.setdefault(name, {})
        inside[last] = value
    return _encoded(whole | {"_syncd": {"pos": change.position, "site": site}})


def _encoded(said: dict[str, Any]) -> RawBSONDocument:
    try:
        encoded = bson.encode(said)
    except (BSONError, OverflowError):
        detail = "an integer beyond 64 bits, or a name that BSON cannot hold"
        raise ProjectionError("unsupported_type", detail) from None
    if len(encoded) > LARGEST_DOCUMENT:
        raise ProjectionError("document_too_large", f"{len(encoded)} bytes, MongoDB takes {LARGEST_DOCUMENT}")
    return RawBSONDocument(encoded)
