"""How a key differs from what its document says. Pure: from what the plan wants and what Redis answered."""

from __future__ import annotations

from typing import Any, TypeAlias

import bson
from bson.errors import BSONError

from syncd.errors import ProjectionError
from syncd.plan.paths import MISSING as NOTHING
from syncd.plan.to_redis.change import Drop, Put
from syncd.plan.values.bson_values import CODEC

MISSING, EXTRA, CONTENT, TTL = "missing", "extra", "content", "ttl"
KINDS = (MISSING, EXTRA, CONTENT, TTL)
"""Kinds of drift."""
EXPIRED = "expired"
"""A key that is not there, of a projection whose keys expire: Redis does not say whether it expired. No drift."""
DEAD = "dead_letter"
"""A document that does not fit: what its key should hold is not known. No drift."""
TTL_TOLERANCE_MS = 1_000
NO_KEY, NO_TTL = -2, -1
"""What PEXPIRETIME says of a key that is not there, or that never expires."""

ANOTHER_TYPE = ("(type)",)

Flaw: TypeAlias = tuple[str, tuple[str, ...]]
"""A kind, and the names of the fields that differ; never what they hold."""


def flaw(write: Put | Drop, content: Any, expires: int, now: int) -> Flaw | None:
    """How a key differs from what `write` would make of it.

    `content` is Redis's reply as it came, an Exception for a key of another type; `expires` is in epoch milliseconds,
    NO_KEY or NO_TTL; `now` is Redis's own time in epoch milliseconds.
    """
    if type(write) is not Put:
        return None if expires == NO_KEY else (EXTRA, ())
    ttl = write.ttl
    if expires == NO_KEY:
        if ttl < 0:
            return None if -ttl <= now + TTL_TOLERANCE_MS else (MISSING, ())
        if write.shape.form.is_over(write.content, now):
            return None
        return (EXPIRED if ttl else MISSING, ())
    names = ANOTHER_TYPE if isinstance(content, Exception) else write.shape.form.differing(write, content)
    if names:
        return CONTENT, names
    return None if _lives_as_long(ttl, expires, now) else (TTL, ())


def _lives_as_long(ttl: int, expires: int, now: int) -> bool:
    if ttl == 0 or expires == NO_TTL:
        return ttl == 0 and expires == NO_TTL
    if ttl < 0:
        return abs(expires + ttl) <= TTL_TOLERANCE_MS
    return expires - now <= ttl + TTL_TOLERANCE_MS  # when it was last written is not known


def same_value(one: Any, other: Any) -> bool:
    """Equal as BSON. What cannot be BSON raises ProjectionError, for no document can hold it."""
    if one is NOTHING or other is NOTHING:
        return one is other
    if type(one) is str and type(other) is str:
        return one == other
    try:
        wanted = bson.encode({"": one})
    except (BSONError, OverflowError):
        raise ProjectionError("unsupported_type", "no value of BSON") from None
    try:
        there = bson.encode({"": other})
    except (BSONError, UnicodeError):  # a text in MongoDB that is not UTF-8
        return False
    return wanted == there or _as_read(wanted) == there


def _as_read(document: bytes) -> bytes:
    """As the driver gives it back: of an object with `$ref` and `$id` it changes the order."""
    try:
        found: Any = bson.decode(document, CODEC)
        return bson.encode(found)
    except (BSONError, TypeError):
        return document
