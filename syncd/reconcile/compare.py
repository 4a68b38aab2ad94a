"""Whether a key is what its document says. Pure: what the plan wants, what Redis answered, and the difference."""

from __future__ import annotations

from typing import Any, TypeAlias

import bson
import orjson
from bson.errors import BSONError

from syncd.errors import ProjectionError
from syncd.plan.change import Drop, Put
from syncd.plan.codec import dump_json, json_text
from syncd.plan.paths import MISSING as NOTHING
from syncd.plan.redisjson import double_read

MISSING, EXTRA, CONTENT, TTL = "missing", "extra", "content", "ttl"
KINDS = (MISSING, EXTRA, CONTENT, TTL)
"""Kinds of drift."""
EXPIRED = "expired"
"""A key that is not there, of a projection whose keys expire: Redis cannot tell whether its time was up. No drift."""
DEAD = "dead_letter"
"""A document that does not fit: what its key should hold nobody can say. No drift."""
TTL_TOLERANCE_MS = 1_000
NO_KEY, NO_TTL = -2, -1
"""What PEXPIRETIME says of a key that is not there, or that never expires."""

_ANOTHER_TYPE = ("(type)",)

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
        return (EXPIRED if ttl else MISSING, ())
    names = _differing(write, content)
    if names:
        return CONTENT, names
    return None if _lives_as_long(ttl, expires, now) else (TTL, ())


def _lives_as_long(ttl: int, expires: int, now: int) -> bool:
    if ttl == 0 or expires == NO_TTL:
        return ttl == 0 and expires == NO_TTL
    if ttl < 0:
        return abs(expires + ttl) <= TTL_TOLERANCE_MS
    return expires - now <= ttl + TTL_TOLERANCE_MS  # when it was last written is not known


def _differing(write: Put, content: Any) -> tuple[str, ...]:
    if isinstance(content, Exception):
        return _ANOTHER_TYPE
    kind = write.shape.type
    if kind == "hash":
        return _hash(write, content)
    if kind == "json":
        return _json(write.content, content)
    return () if as_bytes(write.content) == content else ("value",)


def as_bytes(value: Any) -> bytes:
    """A value of a hash as Redis gives it back."""
    if type(value) is bytes:
        return value
    # Text that is no Unicode never gets to Redis: then it differs, and a dead letter says why.
    return (value if type(value) is str else str(value)).encode(errors="surrogatepass")


def _hash(write: Put, content: list[bytes]) -> tuple[str, ...]:
    wanted = write.content
    if type(wanted) is tuple:
        # The commonest: all fields are there. Small hashes keep the order in which they were written.
        names, values = write.shape.raw_names, _all_as_bytes(wanted)
        if content[1::2] == values and content[::2] == names:
            return ()
        if dict(zip(content[::2], content[1::2], strict=True)) == dict(zip(names, values, strict=True)):
            return ()
        wanted = dict(zip(write.shape.names, wanted, strict=True))
    assert isinstance(wanted, dict)
    there = dict(zip(content[::2], content[1::2], strict=True))
    differ = [name for name, value in wanted.items() if there.pop(as_bytes(name), None) != as_bytes(value)]
    return tuple(differ + [name.decode(errors="replace") for name in there])


def _all_as_bytes(values: tuple[Any, ...]) -> list[bytes]:
    try:
        return [v.encode() if type(v) is str else v if type(v) is bytes else str(v).encode() for v in values]
    except UnicodeEncodeError:
        return [as_bytes(value) for value in values]


def _json(wanted: Any, content: bytes) -> tuple[str, ...]:
    try:
        text = json_text(wanted)
        if text == content:
            return ()
        dump_json(wanted)
    except ProjectionError as error:  # a dead letter says the same
        return (error.reason,)
    one, other = orjson.loads(text), orjson.loads(content)
    if not isinstance(one, dict) or not isinstance(other, dict):
        return () if _equal(one, other) else ("$",)
    names = [*one, *(name for name in other if name not in one)]
    return tuple(
        name for name in names if not (name in one and name in other and _equal(one[name], other[name]))
    )


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON: members in any order, numbers by value, or as RedisJSON reads them, and true is no number."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) or (type(one) is float and double_read(one) == other)


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
        return wanted == bson.encode({"": other})
    except (BSONError, UnicodeError):  # a text in MongoDB that is not UTF-8
        return False
