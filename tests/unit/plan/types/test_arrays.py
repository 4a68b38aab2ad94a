"""An array of a document as a list, a set or a sorted set: what becomes of its elements, and what does not fit."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.model.redis.projection import Projection
from syncd.plan.to_mongo.state import compile_state
from syncd.plan.to_redis.change import Dead, Drop, Put
from syncd.plan.to_redis.compile import compile_contract
from tests.support.contracts import from_redis, model, projection

TYPES = ("list", "set", "zset")
ZSET = {"member": "a", "score": 1}


def written(type: str, array: Any, spec: Any = None, **more: Any) -> Any:
    """The content of the key, the reason of the dead letter, or None where there is no key."""
    shape = projection(type=type, value={"from": "a", **(spec or {})}, **more)
    plan = compile_contract(model(shape), b"key")
    (write,) = plan.puts("1", {"_id": 1} if array is ... else {"_id": 1, "a": array}, "", {})
    if isinstance(write, Dead):
        return write.reason, write.detail
    if isinstance(write, Drop):
        return None
    assert isinstance(write, Put)
    return write.content


def pairs(*members: Any) -> list[dict[str, Any]]:
    return [{"member": member, "score": 1} for member in members]


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("array", [..., None, []])
@pytest.mark.parametrize("null", ["keep", "omit"])
def test_without_elements_there_is_no_key(type: str, array: Any, null: str) -> None:
    """An array that is missing, null or empty: Redis holds no empty list."""
    assert written(type, array, {"null": null}) is None


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("value", ["x", 5, {"a": 1}, Binary(b"\x27\0", 9)])
def test_what_is_no_array(type: str, value: Any) -> None:
    """A dead letter that says so, and never the value; no key where the contract asks for no dead letter."""
    reason, detail = written(type, value)
    assert reason == "not_an_array"
    assert detail.startswith("field `value`: ")
    assert detail.endswith("is not an array")
    assert written(type, value, {"on_error": "omit"}) is None
    assert written(type, value, {"on_error": "null", "null": "keep"}) is None


def test_elements_are_what_they_would_be_in_a_hash() -> None:
    """By their own type, or by the one that the contract names; masked where it says so."""
    array = ["ä", 1, 1.5, True, DatetimeMS(0), b"\xff", {"b": [1]}, [2]]
    wanted = ["ä".encode(), b"1", b"1.5", b"true", b"1970-01-01T00:00:00.000Z", b"\xff", b'{"b":[1]}', b"[2]"]
    assert written("list", array) == wanted
    assert written("list", ["1", 2.0, Int64(3)], {"type": "int"}) == [b"1", b"2", b"3"]
    assert written("set", ["a secret", "another"], {"mask": "redact"}) == [b"[redacted]"]
    assert written("list", [[1.0], [2.0]], {"type": "vector", "dims": 1}) == [b"\0\0\x80?", b"\0\0\0@"]


@pytest.mark.parametrize("type", TYPES)
def test_an_element_that_does_not_fit(type: str) -> None:
    """Makes a dead letter that says which one it is; left out, or null, where the contract says so."""
    array: Any = ["1", "x", "3"] if type != "zset" else pairs("1", "x", "3")
    reason, detail = written(type, array, {"type": "int"})
    assert (reason, detail) == (
        "cannot_convert",
        "field `value`: element 1: string is not an int: no integer",
    )
    for rule in ({"on_error": "omit"}, {"on_error": "null"}):
        assert members(type, written(type, array, {"type": "int", **rule})) == [b"1", b"3"]
    kept = written(type, array, {"type": "int", "on_error": "null", "null": "keep"})
    assert members(type, kept) == [b"1", b"", b"3"]


def members(type: str, content: list[bytes]) -> list[bytes]:
    return content[1::2] if type == "zset" else content


@pytest.mark.parametrize("type", TYPES)
def test_nulls_among_the_elements(type: str) -> None:
    """Are left out, or are the empty text."""
    array: Any = ["a", None] if type != "zset" else pairs("a", None)
    assert members(type, written(type, array)) == [b"a"]
    assert members(type, written(type, array, {"null": "keep"})) == [b"a", b""]
    assert written(type, array[1:]) is None


def test_text_that_is_no_unicode() -> None:
    """A dead letter, and not a failure of the call."""
    for type in TYPES:
        array: Any = ["\udcff"] if type != "zset" else pairs("\udcff")
        reason, detail = written(type, array)
        assert (reason, detail[:25]) == ("not_unicode", "field `value`: element 0:")


def test_a_set_has_each_element_once() -> None:
    """As the same text, whatever it was in the document."""
    assert written("set", ["1", 1, Int64(1), b"1", "2"]) == [b"1", b"2"]
    assert written("list", ["1", 1]) == [b"1", b"1"]


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (1, b"1.0"), (-0.5, b"-0.5"), (2**53, b"9007199254740992.0"), (Int64(-(2**53)), b"-9007199254740992.0"),
        (1e300, b"1e+300"), (math.inf, b"inf"), (-math.inf, b"-inf"), (Decimal128("19.90"), b"19.9"), ("2.5", b"2.5"),
        ("Infinity", b"inf"),
    ],
)  # fmt: skip
def test_scores(score: Any, text: bytes) -> None:
    """Numbers of every type that a double holds."""
    assert written("zset", [{"member": "a", "score": score, "more": 1}]) == [text, b"a"]


@pytest.mark.parametrize(
    ("element", "why"),
    [
        ({"member": "a", "score": Int64(2**53 + 1)}, "long is not a score: it is beyond 2^53, and a score is a double"),
        ({"member": "a", "score": Int64(2**60)}, "long is not a score: it is beyond 2^53, and a score is a double"),
        ({"member": "a", "score": math.nan}, "double is not a score: it is not a number"),
        ({"member": "a", "score": "NaN"}, "string is not a score: it is not a number"),
        ({"member": "a", "score": Decimal128("NaN")}, "decimal is not a score: it is not a number"),
        ({"member": "a", "score": None}, "null is not a double"),
        ({"member": "a", "score": "x"}, "string is not a double: the text is no number"),
        ({"member": "a"}, "an object without `score`"),
        ({"score": 1}, "an object without `member`"),
        ("a", "string is no object of member and score"),
    ],
)  # fmt: skip
def test_what_is_no_element_of_a_sorted_set(element: Any, why: str) -> None:
    """A dead letter; left out where the contract says so."""
    assert written("zset", [element]) == ("cannot_convert", f"field `value`: element 0: {why}")
    assert written("zset", [element, ZSET], {"on_error": "omit"}) == [b"1.0", b"a"]


def test_a_member_twice() -> None:
    """With one score it is there once; with two nothing says which of them counts."""
    assert written("zset", [ZSET, {"member": "a", "score": 1.0}]) == [b"1.0", b"a"]
    reason, detail = written("zset", [ZSET, {"member": "a", "score": 2}], {"on_error": "omit"})
    assert (reason, detail) == (
        "duplicate_member",
        "field `value`: a member that is there twice, with different scores",
    )


def test_a_part_of_a_list() -> None:
    """The first elements of the array, or the last ones; all where it is shorter."""
    array = [str(at) for at in range(5)]
    assert written("list", array, keep={"first": 2}) == [b"0", b"1"]
    assert written("list", array, keep={"last": 2}) == [b"3", b"4"]
    assert written("list", array, keep={"last": 9}) == [b"0", b"1", b"2", b"3", b"4"]
    assert written("list", [*array, "x"], {"type": "int"}, keep={"first": 5}) is not None
    assert "element 5" in written("list", [*array, "x"], {"type": "int"}, keep={"last": 2})[1]


@pytest.mark.parametrize(
    ("type", "keep", "why"),
    [
        ("set", {"first": 2}, "a set has no such `keep`"),
        ("list", {"first": 1, "last": 1}, "`keep` says one thing"),
        ("list", {}, "`keep` says one thing"),
        ("list", {"first": None}, "`keep` says one thing"),
        ("list", {"first": 0}, "greater than or equal to 1"),
    ],
)
def test_what_keep_may_say(type: str, keep: Any, why: str) -> None:
    """One number, of a list."""
    with pytest.raises(ValueError, match=why):
        Projection.model_validate(projection(type=type, value={"from": "a"}, keep=keep))


@given(
    st.sampled_from(TYPES),
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1).map(Int64), st.floats(allow_nan=False)), min_size=1),
)
def test_there_and_back(type: str, elements: list[tuple[Int64, float]]) -> None:
    """What a key holds of an array is the same array on the way back, as far as the type keeps it."""
    array: Any = [element for element, _ in elements]
    if type == "zset":
        array = [{"member": member, "score": score} for member, score in dict(elements).items()]
    said = {"from": "a", "type": "long"}
    content = written(type, array, said)
    reply = (
        content
        if type != "zset"
        else [part for at in range(0, len(content), 2) for part in content[at : at + 2][::-1]]
    )
    sync = from_redis("outbox")
    plan = compile_state(model(projection(type=type, value=said), sync=sync))
    found = plan.found(type.encode(), -1, reply, b"", b"")
    back = plan.update(found).set["a"]
    if type == "set":
        assert sorted(back) == sorted(set(array))
    else:
        assert back == array
