"""BSON values as text and as JSON, field by field."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from typing import Any

import orjson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.regex import Regex
from bson.son import SON
from hypothesis import example, given
from hypothesis import strategies as st

from syncd.errors import ProjectionError
from syncd.plan.values.codec import JSON_DEPTH, dump_json, to_hash, to_json
from syncd.plan.values.dates import date_text, parse_date
from syncd.plan.values.raw import RawId
from syncd.plan.values.texts import json_text
from tests.unit.plan.strategies import dates, decoded, doubles, values

DATE = datetime.datetime(2020, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.UTC)


def _nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@given(values)
def test_dump_is_what_to_json_says(value: Any) -> None:
    """The fast writer and the plain types agree on every value."""
    value = decoded(value)
    assert json.loads(json_text(value)) == to_json(value)
    assert json.loads(json.dumps(to_json(value), allow_nan=False)) == to_json(value)


@given(st.recursive(st.one_of(st.none(), st.floats(), st.text("nul")), st.lists))
@example([None, [1.0, math.nan]])
@example([1e308, 1e308, None, "null"])
@example([math.inf, -math.inf, None])
def test_no_number_becomes_null(value: Any) -> None:
    """NaN and infinities are texts in JSON, also beside real nulls and the word null."""
    assert orjson.loads(json_text(value)) == to_json(value)
    assert dump_json({"v": math.nan}) == b'{"v":"NaN"}'


@given(doubles)
def test_a_double_is_read_back_from_its_text(value: float) -> None:
    """The text of a double is the shortest that gives the same double, without `.0`."""
    text = to_hash(value)
    assert isinstance(text, str)
    assert not text.endswith(".0")
    assert math.isnan(value) if text == "nan" else float(text).hex() == value.hex()


@given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)))
def test_dates_are_rfc_3339(moment: datetime.datetime) -> None:
    """A date has the text that Python's ISO format has, in milliseconds and with Z."""
    assert to_hash(decoded(moment)) == moment.isoformat(timespec="milliseconds") + "Z"


@given(dates)
@example(DatetimeMS(-(2**63)))
@example(DatetimeMS(2**63 - 1))
@example(DatetimeMS(-62_167_219_200_000))
@example(DatetimeMS(-62_167_219_200_001))
def test_every_date_is_read_back(value: DatetimeMS) -> None:
    """All 2^64 dates have a text of their own, years before 0 and after 9999 included."""
    assert parse_date(date_text(value)) == value


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01 00:00:01", 1000),
        ("1970-01-01T02:00:00.1230000+02:00", 123),
        ("1969-12-31t22:30:00,5-0130", 500),
        ("2000-02-29", 951_782_400_000),
        ("2000-02-29T00:00:00.123456", 951_782_400_123),
        ("2000-02-29 00:00:00.123999+00", 951_782_400_123),
        ("2000-02-29T02:00:00.123456789+02:00[Europe/Berlin]", 951_782_400_123),
        ("2000-02-29 02:00:00.9 +0200", 951_782_400_900),
        ("2000-02-29 00:00:00 UTC", 951_782_400_000),
        ("20000229T000000.5Z", 951_782_400_500),
        ("1969-12-31T23:59:59.9999Z", 0),
        ("1969-12-31T23:59:58.9999Z", -1000),
    ],
)
def test_iso_8601_is_read(text: str, millis: int) -> None:
    """A date alone is its midnight, an offset counts, no zone is UTC."""
    assert int(parse_date(text)) == millis


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2020",
        "2020-1-1",
        "2001-02-29",
        "2020-01-01T24:00:00Z",
        "2020-01-01T00:60Z",
        "2020-01-01T00:00:60Z",
        "2020-01-01T00:00Z ",
        "+999999999-01-01T00:00Z",
        "2020-01-01Z",
    ],
)
def test_no_guess_at_a_date(text: str) -> None:
    """What is no moment is refused."""
    with pytest.raises(ValueError, match=r"it is|there is"):
        parse_date(text)


def test_driver_types_that_bson_does_not_give() -> None:
    """Python's datetime and UUID, and subclasses such as SON, are taken as well."""
    mixed = SON(at=DATE, id=uuid.UUID(int=1), n=Int64(2**53 + 1))
    assert to_hash(DATE) == "2020-01-02T03:04:05.678Z"
    assert dump_json(mixed) == (
        b'{"at":"2020-01-02T03:04:05.678Z","id":"00000000-0000-0000-0000-000000000001","n":9007199254740993}'
    )


def test_code_with_scope_is_written_everywhere() -> None:
    """A scope is not lost, though Python takes a Code for a str, however deep it stands."""
    code = Code("f()", {"x": Int64(1)})
    expected = b'{"$code":"f()","$scope":{"x":{"$numberLong":"1"}}}'
    assert dump_json(code) == to_hash(code) == expected
    assert dump_json([{"a": code}]) == b'[{"a":' + expected + b"}]"
    assert to_hash(Code("f()")) == "f()"


def test_references_keep_all_members() -> None:
    """A DBRef is the object that MongoDB stores, with its other members in order."""
    assert dump_json(DBRef("c", Decimal128("1"), "db", x=math.nan)) == (
        b'{"$ref":"c","$id":"1","$db":"db","x":"NaN"}'
    )


def test_broken_vectors_and_uuids_are_bytes() -> None:
    """A subtype that promises more than the bytes hold is shown as the bytes."""
    for broken in (Binary(b"\x27", 9), Binary(b"\x27\0abc", 9), Binary(b"\x99\0ab", 9), Binary(b"abc", 4)):
        assert to_hash(broken) == bytes(broken)
        assert isinstance(to_json(broken), str)


def test_json_depth() -> None:
    """JSON goes as deep as RedisJSON reads and no deeper; a hash has no such limit."""
    assert json.loads(dump_json(_nested(JSON_DEPTH))) == _nested(JSON_DEPTH)
    assert dump_json([[]] * 500) == b"[" + b",".join([b"[]"] * 500) + b"]"
    with pytest.raises(ProjectionError) as caught:
        dump_json(_nested(JSON_DEPTH + 1))
    assert caught.value.reason == "json_too_deep"
    with pytest.raises(ProjectionError, match="json_too_deep"):
        dump_json(_nested(JSON_DEPTH), under=1)
    assert json.loads(to_hash(_nested(200))) == _nested(200)
    with pytest.raises(ProjectionError, match="json_too_deep"):
        json_text(_nested(300))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": "\ud800"}, "not_unicode"),
        ({"\ud800": 1}, "not_unicode"),
        (Code("\udcff", {}), "not_unicode"),
        ([Code("f", {"a": "\udcff"})], "not_unicode"),
        ({"a": Regex("\udcff")}, "not_unicode"),
        ({"a": RawId(2, b"\x02\0\0\0\xff\0")}, "unsupported_type"),
        ([2**64], "number_too_large"),
        ([DBRef("c", {1, 2})], "unsupported_type"),
        ([1 + 2j], "unsupported_type"),
        ({1: 2}, "unsupported_type"),
    ],
)
def test_what_json_cannot_hold(value: Any, reason: str) -> None:
    """A value that no JSON can hold makes a ProjectionError with its reason."""
    with pytest.raises(ProjectionError) as caught:
        dump_json(value)
    assert caught.value.reason == reason


def test_what_a_hash_cannot_hold() -> None:
    """Half of a surrogate pair, wherever it stands, and a foreign type are refused."""
    for half in ("\ud800", Regex("\udcff"), Code("\udcff"), Code("\udcff", {}), Code("f", {"\udcff": 1})):
        with pytest.raises(ProjectionError, match="not_unicode"):
            to_hash(half)
    with pytest.raises(ProjectionError, match="unsupported_type: a value of no BSON type cannot be copied"):
        to_hash({1})
