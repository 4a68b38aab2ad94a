"""What differs, of what Redis may answer."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.contract.model.redis.projection import Projection
from syncd.plan.misfits import Misfits
from syncd.plan.to_redis.change import Drop, Put
from syncd.plan.to_redis.shape import Shape
from syncd.reconcile.compare import NO_KEY, NO_TTL, TTL_TOLERANCE_MS, flaw

NOW = 1_700_000_000_000
DOCUMENT = {"_id": 1, "t": "film", "n": 7, "x": 1.5, "none": None}


def put(kind: str = "hash", ttl: int = 0, document: dict[str, Any] | None = None, **more: Any) -> Put:
    said = {"projection": "card", "type": kind, "key": "k:{_id}", "fields": ["t", "n", "x"], **more}
    shape = Shape(Projection.model_validate(said), None, Misfits())
    write = shape.put("1", document or DOCUMENT, "")
    assert isinstance(write, Put)
    return write._replace(ttl=ttl)


GOOD = [b"t", b"film", b"n", b"7", b"x", b"1.5"]


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (GOOD, None),
        ([b"x", b"1.5", b"t", b"film", b"n", b"7"], None),
        ([b"t", b"another", b"n", b"7", b"x", b"1.5"], ("content", ("t",))),
        ([b"t", b"film", b"n", b"7"], ("content", ("x",))),
        ([*GOOD, b"old", b"1"], ("content", ("old",))),
        ([b"t", b"film", b"n", b"07", b"\xff", b"1.5"], ("content", ("n", "x", "\ufffd"))),
        (RuntimeError("WRONGTYPE"), ("content", ("(type)",))),
    ],
)
def test_a_hash(there: Any, found: Any) -> None:
    """Its fields in any order, byte by byte; a stale field is a difference as well."""
    assert flaw(put(), there, NO_TTL, NOW) == found


def test_a_hash_without_one_of_its_fields() -> None:
    """What the document has not must not be in the key."""
    short = put(document={"_id": 1, "t": "film"})
    assert flaw(short, [b"t", b"film"], NO_TTL, NOW) is None
    assert flaw(short, GOOD, NO_TTL, NOW) == ("content", ("n", "x"))


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (b'{"t":"film","n":7,"x":1.5}', None),
        (b'{"x":1.5,"n":7.0,"t":"film"}', None),
        (b'{"t":"film","n":true,"x":1.5}', ("content", ("n",))),
        (b'{"t":"film","n":7,"x":null}', ("content", ("x",))),
        (b'{"t":"film","n":7,"x":1.5,"old":0}', ("content", ("old",))),
        (b"[1]", ("content", ("$",))),
    ],
)
def test_json(there: bytes, found: Any) -> None:
    """Members in any order, numbers by value; true is no number, and null is not missing."""
    assert flaw(put("json"), there, NO_TTL, NOW) == found


def test_nested_json() -> None:
    """To the last element."""
    write = put("json", document={"_id": 1, "t": [{"a": [1, True]}], "n": {"b": 1}})
    assert flaw(write, b'{"n":{"b":1},"t":[{"a":[1,true]}]}', NO_TTL, NOW) is None
    assert flaw(write, b'{"n":{"b":1},"t":[{"a":[1,1]}]}', NO_TTL, NOW) == ("content", ("t",))
    assert flaw(write, b'{"n":{"b":1},"t":[{"a":[1]}]}', NO_TTL, NOW) == ("content", ("t",))


def test_a_string() -> None:
    """Byte by byte."""
    write = put("string", fields=None, value={"from": "n"})
    assert flaw(write, b"7", NO_TTL, NOW) is None
    assert flaw(write, b"8", NO_TTL, NOW) == ("content", ("value",))


def test_a_key_that_should_be_gone() -> None:
    """Is extra, whatever it holds."""
    drop = Drop(put().shape, "1", "k:1")
    assert flaw(drop, None, NO_KEY, NOW) is None
    assert flaw(drop, None, NO_TTL, NOW) == ("extra", ())


HOUR = 3_600_000
UNTIL = NOW + HOUR


@pytest.mark.parametrize(
    ("ttl", "expires", "found"),
    [
        (0, NO_TTL, None),
        (0, UNTIL, "ttl"),
        (HOUR, NO_TTL, "ttl"),
        (HOUR, NOW + HOUR + TTL_TOLERANCE_MS // 2, None),
        (HOUR, NOW + 1, None),
        (HOUR, NOW + HOUR + 2 * TTL_TOLERANCE_MS, "ttl"),
        (-UNTIL, UNTIL, None),
        (-UNTIL, UNTIL + 2 * TTL_TOLERANCE_MS, "ttl"),
        (-UNTIL, UNTIL - 2 * TTL_TOLERANCE_MS, "ttl"),
        (-UNTIL, NO_TTL, "ttl"),
        (0, NO_KEY, "missing"),
        (HOUR, NO_KEY, "expired"),
        (-UNTIL, NO_KEY, "missing"),
        (-(NOW - HOUR), NO_KEY, None),
    ],
)
def test_the_time_to_live(ttl: int, expires: int, found: str | None) -> None:
    """There and not too long where one is wanted, absent where none is. A key with a time to live from its last write
    may have expired; one with a moment of its own must not be gone before."""
    said = flaw(put(ttl=ttl), GOOD, expires, NOW)
    assert (said[0] if said else None) == found
