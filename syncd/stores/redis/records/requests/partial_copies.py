"""Copies of some documents, by a filter, that people ask for: one at a time in each lane, with how far it is.
Changed by `lua/partial.lua`, under the lease of the lane."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import json_util

from syncd.plan.values.raw import encode, read
from syncd.stores.mongo.store import Document
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated


@dataclass(frozen=True, slots=True)
class PartialCopy:
    """What a person asked for, and how far it is. Its filter holds values, and stays out of what is logged."""

    id: str
    where: Document = field(repr=False)
    after: Document | None = field(repr=False)
    """Behind which `_id` it goes on; None at its beginning."""
    copied: int
    error: str
    """Why it ended before its end; empty while it is under way."""


def request_partial_copy(store: RedisStore, contract: str, where: Mapping[str, Any], by: str) -> bool:
    """Ask every partition to copy the documents that match. False where one is under way, which goes on."""
    text = json_util.dumps(where, json_options=json_util.CANONICAL_JSON_OPTIONS)
    args = [secrets.token_hex(8), text, str(round(time.time())), by]
    keys = [part.partial for part in partitions_of(store, contract)]
    return bool(store.call("syncd_ask_partial", keys, args)[0] == b"ok")


def partial_copy(store: RedisStore, keys: ControlKeys) -> PartialCopy | None:
    """What was asked of a lane; None where nothing was. What another client wrote there is no request."""
    with translated():
        raw: Any = store.client.hgetall(keys.partial)
    try:
        where = json_util.loads(raw[b"where"].decode())
        after = read(raw[b"after"]) if raw.get(b"after") else None
        copied = int(raw.get(b"copied", b"0"))
        return PartialCopy(raw[b"id"].decode(), where, after, copied, raw.get(b"error", b"").decode())
    except (KeyError, ValueError, TypeError, bson.errors.InvalidBSON):
        return None


def note_progress(lease: Lease, copy: PartialCopy, after: Document, copied: int) -> None:
    """All documents up to `after` are in Redis. Raises FencedError."""
    lease.call("syncd_partial", [lease.keys.partial], [copy.id, encode(after), copied, ""])


def note_end(lease: Lease, copy: PartialCopy, error: str = "") -> None:
    """It is done, or cannot be done, for this reason. Raises FencedError."""
    lease.call("syncd_partial", [lease.keys.partial], [copy.id, "", "", error or "done"])


def forget_partial_copy(store: RedisStore, keys: ControlKeys) -> None:
    """A copy of all documents is about to begin."""
    with translated():
        store.client.delete(keys.partial)
