"""Extended JSON in filters."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from syncd.contract.model.extjson import decode

UTC = datetime.UTC


def decoded(value: Any) -> tuple[Any, list[Any]]:
    told: list[Any] = []
    return decode(value, ("mongo", "filter"), lambda *problem: told.append(problem)), told


@pytest.mark.parametrize(
    ("wrapped", "value"),
    [
        ({"$oid": "65a1f00d65a1f00d65a1f00d"}, ObjectId("65a1f00d65a1f00d65a1f00d")),
        ({"$date": "2024-01-31T00:00:00Z"}, datetime.datetime(2024, 1, 31, tzinfo=UTC)),
        ({"$date": {"$numberLong": "1000"}}, datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ({"$numberDecimal": "12.50"}, Decimal128("12.50")),
        ({"$numberLong": "42"}, Int64(42)),
        ({"$numberDouble": "1.5"}, 1.5),
        ({"$uuid": "123e4567-e89b-12d3-a456-426614174000"},
         Binary.from_uuid(UUID("123e4567-e89b-12d3-a456-426614174000"))),
        ({"$binary": {"base64": "AAAA", "subType": "00"}}, b"\0\0\0"),
        ({"$regularExpression": {"pattern": "^a", "options": "i"}}, Regex("^a", "i")),
        ({"$timestamp": {"t": 1, "i": 2}}, Timestamp(1, 2)),
        ({"$minKey": 1}, MinKey()),
        ({"$maxKey": 1}, MaxKey()),
    ],
)  # fmt: skip
def test_a_wrapper_becomes_its_value(wrapped: Any, value: Any) -> None:
    """At any depth."""
    result, told = decoded({"a": [{"b": {"$gt": wrapped}}]})
    assert told == []
    assert result == {"a": [{"b": {"$gt": value}}]}
    assert type(result["a"][0]["b"]["$gt"]) is type(value)


def test_operators_stay_as_they_are() -> None:
    """`$regex` and `$type` too, which look alike."""
    query = {"a": {"$regex": "^x", "$options": "i"}, "b": {"$type": "date"}, "$or": [{"c": 1}, {"d": None}]}
    assert decoded(query) == (query, [])


@pytest.mark.parametrize(
    "wrapped",
    [
        {"$oid": None}, {"$oid": "xyz"}, {"$oid": 5}, {"$date": "2024-01-31"}, {"$date": True}, {"$date": ""},
        {"$numberDecimal": 12.5}, {"$numberDecimal": "x"}, {"$numberLong": "1.5"}, {"$numberInt": []},
        {"$uuid": "x"}, {"$binary": {"base64": "AAAA"}}, {"$binary": {"base64": 1, "subType": "00"}},
        {"$regularExpression": {"pattern": "a"}}, {"$timestamp": {"t": "x", "i": 1}}, {"$minKey": "x"},
    ],
)  # fmt: skip
def test_a_wrapper_that_holds_something_else_is_told(wrapped: dict[str, Any]) -> None:
    """`{$oid: null}` would otherwise be a new, random id."""
    (wrapper,) = wrapped
    _, told = decoded({"a": wrapped})
    ((path, what, remedy),) = told
    assert path == ("mongo", "filter", "a", wrapper)
    assert what == f"not a value of `{wrapper}`"
    assert remedy.startswith("write ")


def test_a_wrapper_stands_alone() -> None:
    """Beside other keys its meaning would be a guess."""
    _, told = decoded({"a": {"$oid": "65a1f00d65a1f00d65a1f00d", "$gt": 1}})
    assert [what for _, what, _ in told] == ["`$oid` beside other keys"]
