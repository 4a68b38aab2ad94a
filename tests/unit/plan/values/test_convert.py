"""`type:` in a contract, and the way back from Redis."""

from __future__ import annotations

import datetime
import math
import uuid
from typing import Any, get_args

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from hypothesis import assume, given
from hypothesis import strategies as st

from syncd.contract.model.values import FieldType
from syncd.errors import ProjectionError
from syncd.plan.values.codec import convert, dump_json, from_hash, from_json, to_hash, to_json
from tests.unit.plan.strategies import dates, decimals, doubles, identity, int64, text, uuids, values

OID = ObjectId("65a1b2c3d4e5f60718293a4b")
UUID = Binary(uuid.UUID(int=1).bytes, 4)


def _through_hash(value: Any, field_type: FieldType) -> Any:
    shown = to_hash(convert(value, field_type))
    return from_hash(shown.encode() if isinstance(shown, str) else shown, field_type)


def _through_json(value: Any, field_type: FieldType) -> Any:
    return from_json(to_json(convert(value, field_type)), field_type)


@pytest.mark.parametrize(
    ("field_type", "strategy"),
    [
        ("string", text), ("int", int64), ("double", doubles), ("decimal", decimals), ("bool", st.booleans()),
        ("date", dates), ("epoch_ms", dates), ("uuid", uuids), ("binary", st.binary()),
        ("objectId", st.binary(min_size=12, max_size=12).map(ObjectId)),
        ("epoch", st.integers(-(10**14), 10**14).map(DatetimeMS)),
        ("epoch_us", st.integers(-(2**53), 2**53).map(DatetimeMS)),
        ("json", st.recursive(st.booleans() | int64 | text, st.lists)),
    ],
)  # fmt: skip
def test_values_come_back(field_type: FieldType, strategy: st.SearchStrategy[Any]) -> None:
    """A value of the declared type comes back as it was, from a hash and from JSON."""

    @given(strategy)
    def check(value: Any) -> None:
        assert identity(_through_hash(value, field_type)) == identity(value)
        assert identity(_through_json(value, field_type)) == identity(value)

    check()


@given(values, st.sampled_from(get_args(FieldType)))
def test_conversion_is_whole_or_refused(value: Any, field_type: FieldType) -> None:
    """Any value under any type gives what Redis can hold, or a ProjectionError; to convert twice is once."""
    try:
        converted = convert(value, field_type)
    except ProjectionError as error:
        assert error.reason in ("cannot_convert", "vector_element")
        return
    to_hash(converted)
    dump_json(converted)
    if field_type not in ("json", "epoch", "epoch_us"):
        again = convert(converted, field_type)
        assert identity(again) == identity(converted)


@pytest.mark.parametrize(
    ("value", "field_type", "expected"),
    [
        (42, "string", "42"),
        (2.0, "string", "2"),
        (OID, "string", str(OID)),
        (UUID, "string", str(uuid.UUID(int=1))),
        ("é".encode(), "string", "é"),
        ({"a": 1}, "string", '{"a":1}'),
        (Code("f()", {"a": 1}), "string", '{"$code":"f()","$scope":{"a":{"$numberInt":"1"}}}'),
        (MaxKey(), "string", "MaxKey"),
        (3.0, "int", 3),
        (Decimal128("1E+3"), "int", 1000),
        ("007", "int", 7),
        ("-9223372036854775808", "int", -(2**63)),
        (True, "int", 1),
        (Int64(5), "double", 5.0),
        (Decimal128("19.90"), "double", 19.9),
        (Decimal128("0.5"), "double", 0.5),
        ("1e3", "double", 1000.0),
        ("-inf", "double", -math.inf),
        (0.1, "decimal", Decimal128("0.1")),
        (math.inf, "decimal", Decimal128("Infinity")),
        (7, "decimal", Decimal128("7")),
        (Decimal128("1.0"), "bool", True),
        (0.0, "bool", False),
        ("false", "bool", False),
        (0, "date", DatetimeMS(0)),
        (Decimal128("1E+3"), "date", DatetimeMS(1000)),
        ("1970-01-01T00:00:00.001Z", "date", DatetimeMS(1)),
        (datetime.datetime(1970, 1, 1), "date", DatetimeMS(0)),
        (DatetimeMS(1_500), "epoch", 1.5),
        (DatetimeMS(-1), "epoch", -0.001),
        (DatetimeMS(2_000), "epoch", 2),
        (2_000, "epoch", 2),
        ("1970-01-01", "epoch_ms", 0),
        (str(OID).upper(), "objectId", OID),
        (OID.binary, "objectId", OID),
        (uuid.UUID(int=1), "uuid", UUID),
        (str(uuid.UUID(int=1)), "uuid", UUID),
        (Binary(b"ab", 128), "binary", b"ab"),
        ("a", "json", '"a"'),
        (math.nan, "json", '"NaN"'),
        ([1, Int64(2), 0.5], "vector", [1, 2, 0.5]),
        ({"type": "Point", "coordinates": [13.4, 52]}, "geo", "13.4,52"),
        ({"lng": Decimal128("13.4"), "latitude": 52, "name": "x"}, "geo", "13.4,52"),
        ([-180, 85.05], "geo", "-180,85.05"),
        (" 13.4 , 52.50", "geo", "13.4,52.5"),
        ({"type": "Point", "coordinates": [13.4, 52, 34.5]}, "geo", "13.4,52"),
        ([13.4, 52, -1], "geo", "13.4,52"),
        (None, "int", None),
    ],
)
def test_conversions(value: Any, field_type: FieldType, expected: Any) -> None:
    """What each type takes, and what it makes of it."""
    converted = convert(value, field_type)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "field_type", "detail"),
    [
        (1.5, "int", "double is not an int: it has a fraction"),
        (1e300, "int", "double is not an int: it does not fit 64 bits"),
        (math.nan, "int", "double is not an int: it does not fit 64 bits"),
        (Decimal128("0.1"), "int", "decimal is not an int: it has a fraction or does not fit 64 bits"),
        ("4 2", "int", "string is not an int: no integer"),
        ("9223372036854775808", "int", "string is not an int: it does not fit 64 bits"),
        (DatetimeMS(0), "int", "date is not an int"),
        (Int64(2**53 + 1), "double", "long is not a double: a double cannot hold all its digits"),
        (2**2000, "double", "int is not a double: a double cannot hold all its digits"),
        (
            Decimal128("12345678901234567.8"),
            "double",
            "decimal is not a double: a double cannot hold all its digits",
        ),
        (Decimal128("1E+400"), "double", "decimal is not a double: a double cannot hold all its digits"),
        ("1,5", "double", "string is not a double: the text is no number"),
        ("1" * 35, "decimal", "string is not a decimal: more than 34 digits or too large an exponent"),
        (2, "bool", "int is not a bool: it is neither 0 nor 1"),
        (Decimal128("NaN"), "bool", "decimal is not a bool: it is neither 0 nor 1"),
        ("yes", "bool", "string is not a bool: the text is neither true nor false"),
        (1.5, "epoch", "double is not a date: it is no whole number of milliseconds"),
        ("1795909780.2428308", "epoch", "string is not a date: it is not in ISO 8601"),
        (math.inf, "date", "double is not a date: it is beyond what a date holds"),
        (True, "date", "bool is not a date"),
        (Timestamp(1, 1), "date", "timestamp is not a date"),
        ("soon", "date", "string is not a date: it is not in ISO 8601"),
        (DatetimeMS(2**62 + 1), "epoch", "date is not an epoch: a double cannot hold its milliseconds"),
        ("x", "objectId", "string is not an objectId: not 24 hex digits"),
        (b"x", "objectId", "binData is not an objectId: not 12 bytes"),
        (Binary(bytes(16), 3), "uuid", "binData is not a uuid: only subtype 4 says its byte order"),
        ("x", "uuid", "string is not a uuid: the text is not in the form 8-4-4-4-12"),
        ("x", "binary", "string is not a binary"),
        (b"\xff", "string", "binData is not a string: the bytes are not UTF-8"),
        (Binary(b"a", 9), "string", "binData is not a string: its bytes are no text"),
        ("x", "vector", "string is not a vector"),
        ([0, 86], "geo", "array is not a point: longitude goes to 180 and latitude to 85.05112878 degrees"),
        (
            [math.nan, 0],
            "geo",
            "array is not a point: longitude goes to 180 and latitude to 85.05112878 degrees",
        ),
        ([1, 2, 3, 4], "geo", "array is not a point: a position is two numbers, or three with an altitude"),
        ([1, 2, "x"], "geo", "string is not a double: the text is no number"),
        ([1, 2, math.inf], "geo", "array is not a point: an altitude is finite"),
        ([[1, 2], [3, 4]], "geo", "array is not a point: several points, which only JSON can hold"),
        ([], "geo", "array is not a point: several points, which only JSON can hold"),
        ([True, 2], "geo", "array is not a point: a bool is no coordinate"),
        (["a", 2], "geo", "string is not a double: the text is no number"),
        (
            {"lon": 1, "lng": 1, "lat": 2},
            "geo",
            "object is not a point: it has no single longitude and latitude",
        ),
        (
            {"type": "Line", "coordinates": []},
            "geo",
            "object is not a point: of GeoJSON, only a Point is a position",
        ),
        ("1;2", "geo", "string is not a point: the text is not `lon,lat`"),
    ],
)
def test_nothing_is_lost_in_silence(value: Any, field_type: FieldType, detail: str) -> None:
    """What does not fit is refused, and the message names the types but never the value."""
    with pytest.raises(ProjectionError) as caught:
        convert(value, field_type)
    assert (caught.value.reason, caught.value.detail) == ("cannot_convert", detail)


@given(st.floats(-180, 180), st.floats(-85, 85))
def test_points_come_back(lon: float, lat: float) -> None:
    """A GeoJSON point comes back exactly, from a hash and from JSON."""
    point = {"type": "Point", "coordinates": [lon, lat]}
    assert _through_hash(point, "geo") == point
    assert _through_json(point, "geo") == point


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5))
def test_vectors_come_back(vector: list[float]) -> None:
    """Numbers that fit float32 come back exactly as doubles."""
    assume(vector == vector)
    assert from_json(vector, "vector") == vector


@pytest.mark.parametrize(
    ("raw", "field_type", "reason"),
    [
        (b"", "int", "cannot_convert"),
        (b"1.5", "int", "cannot_convert"),
        (b"\xff", "string", "not_unicode"),
        (b"abc", "vector", "vector_length"),
        (b"1", "geo", "cannot_convert"),
        (b"nan", "epoch", "cannot_convert"),
        (b"1e30", "epoch", "cannot_convert"),
        (b"{", "json", "cannot_convert"),
        (b"x", "epoch_ms", "cannot_convert"),
        (b"", "json", "cannot_convert"),
    ],
)
def test_a_hash_that_was_spoilt(raw: bytes, field_type: FieldType, reason: str) -> None:
    """What an application wrote is taken in the declared type or refused, never guessed."""
    with pytest.raises(ProjectionError) as caught:
        from_hash(raw, field_type)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("value", "field_type"),
    [(1, "string"), ("a", "vector"), ("?", "binary"), ({}, "int"), (True, "epoch"),
     ([1, "a"], "vector"), ([1], "date"), ("1.5", "int")],
)  # fmt: skip
def test_a_json_member_that_was_spoilt(value: Any, field_type: FieldType) -> None:
    """The same for JSON: a number is not taken for a string, nor a string for a vector."""
    with pytest.raises(ProjectionError):
        from_json(value, field_type)


def test_null_comes_back_from_json() -> None:
    """null in a JSON document is null whatever the declared type."""
    assert all(from_json(None, field_type) is None for field_type in get_args(FieldType))


@pytest.mark.parametrize("value", [{"a": [1, None]}, [1, {"b": "c"}], 1.5, True])
def test_json_in_json(value: Any) -> None:
    """What an application wrote into a JSON document as it is needs no text of JSON in it."""
    assert from_json(value, "json") == value
