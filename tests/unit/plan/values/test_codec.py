"""Encoders of fields: nulls, types, masks and the messages of what does not fit."""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from typing import Any

import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from hypothesis import given

from syncd.contract.model.redis.projection import FieldSpec
from syncd.errors import ProjectionError, SettingsError
from syncd.plan.values.codec import OMIT, as_is, dump_json, hash_field, json_field, to_hash, type_name
from tests.unit.plan.strategies import decoded, values

KEY = b"a secret"


def _spec(**details: Any) -> FieldSpec:
    return FieldSpec.model_validate({"from": "x"} | details)


def _in_hash(value: Any, **details: Any) -> str | bytes | None:
    return hash_field("x", _spec(**details), KEY)(value)


def _in_json(value: Any, **details: Any) -> Any:
    return json_field("x", _spec(**details), KEY)(value)


@given(values)
def test_a_plain_field_is_the_type_table(value: Any) -> None:
    """Without details a hash holds the text of the value and JSON the value; so for an expression."""
    value = decoded(value)
    expected = None if value is None else to_hash(value)
    assert _in_hash(value) == expected
    assert hash_field("x", FieldSpec.model_validate({"expr": "x"}), None)(value) == expected
    assert _in_json(value) is value


def test_null_in_a_hash() -> None:
    """A hash leaves null out, or keeps it as the empty string, under every type and mask."""
    for details in ({}, {"type": "int"}, {"type": "vector", "dims": 2}, {"mask": "hmac"}, {"mask": "redact"}):
        assert _in_hash(None, **details) is None
        assert _in_hash(None, **details, null="keep") == ""
    assert hash_field("x", FieldSpec.model_validate({"expr": "x"}), None)(None) is None


def test_null_in_json() -> None:
    """JSON keeps null, or leaves it out, under every type and mask."""
    for details in ({}, {"type": "int"}, {"type": "vector", "dims": 2}, {"mask": "hmac"}, {"mask": "redact"}):
        assert _in_json(None, **details) is None
        assert _in_json(None, **details, null="omit") is OMIT
    assert _in_json(5, null="omit") == 5
    assert repr(OMIT) == "OMIT"


def test_fields_without_work_are_recognised() -> None:
    """An encoder with nothing to do is the function `as_is`, which a caller may leave out."""
    assert json_field("x", _spec(), None) is as_is


@pytest.mark.parametrize(
    ("value", "details", "in_hash", "in_json"),
    [
        (5, {"type": "int"}, "5", b"5"),
        (Int64(5), {"type": "int"}, "5", b"5"),
        (Decimal128("19.90"), {"type": "double"}, "19.9", b"19.9"),
        (math.nan, {"type": "double"}, "nan", b'"NaN"'),
        (1.5, {"type": "decimal"}, "1.5", b'"1.5"'),
        (1, {"type": "bool"}, "true", b"true"),
        (DatetimeMS(1500), {"type": "epoch"}, "1.5", b"1.5"),
        (DatetimeMS(1500), {"type": "epoch_ms"}, "1500", b"1500"),
        (b"\xff", {"type": "binary"}, b"\xff", b'"/w=="'),
        ({"a": None}, {"type": "json"}, '{"a":null}', b'"{\\"a\\":null}"'),
        ([1, 0.5], {"type": "vector", "dims": 2}, struct.pack("<2f", 1, 0.5), b"[1,0.5]"),
        (
            [1, 0.5],
            {"type": "vector", "dims": 2, "datatype": "float16"},
            struct.pack("<2e", 1, 0.5),
            b"[1,0.5]",
        ),
        ([13.4, 52.5], {"type": "geo"}, "13.4,52.5", b'"13.4,52.5"'),
    ],
)
def test_types(value: Any, details: dict[str, Any], in_hash: str | bytes, in_json: bytes) -> None:
    """A type decides what both shapes hold."""
    assert _in_hash(value, **details) == in_hash
    assert dump_json(_in_json(value, **details)) == in_json


@pytest.mark.parametrize(
    ("name", "value", "details", "message"),
    [
        (
            "year",
            1.5,
            {"type": "int"},
            "cannot_convert: field `year`: double is not an int: it has a fraction",
        ),
        (
            "embedding",
            [0.5] * 255,
            {"type": "vector", "dims": 256},
            "vector_length: field `embedding`: 255 elements, the contract says 256",
        ),
        ("x", {1}, {}, "unsupported_type: field `x`: a value of no BSON type cannot be copied"),
        (
            "x",
            "a",
            {"type": "int", "mask": "hmac"},
            "cannot_convert: field `x`: string is not an int: no integer",
        ),
    ],
)
def test_a_refusal_names_the_field(name: str, value: Any, details: dict[str, Any], message: str) -> None:
    """A dead letter says which field is wrong, and how."""
    with pytest.raises(ProjectionError) as caught:
        hash_field(name, _spec(**details), KEY)(value)
    assert str(caught.value) == message
    if details:
        with pytest.raises(ProjectionError) as caught:
            json_field(name, _spec(**details), KEY)(value)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "raw"),
    [("a@b.c", b"a@b.c"), ("é", "é".encode()), (42, b"42"), (Binary(b"\xff", 128), b"\xff"), ([1], b"[1]")],
)
def test_hmac_is_over_the_text_of_the_hash(value: Any, raw: bytes) -> None:
    """`hmac` is HMAC-SHA256 in hex, and the same in a hash and in JSON."""
    expected = hmac.new(KEY, raw, hashlib.sha256).hexdigest()
    assert _in_hash(value, mask="hmac") == expected
    assert _in_json(value, mask="hmac") == expected


def test_the_mask_comes_after_the_type() -> None:
    """3 and 3.0 and "3" have one digest under `type: int`."""
    assert len({_in_hash(value, type="int", mask="hmac") for value in (3, 3.0, "3")}) == 1


def test_hmac_needs_a_key() -> None:
    """Without a key the contract is not compiled, so that nothing leaves unmasked."""
    for compiled in (hash_field, json_field):
        for key in (None, b""):
            with pytest.raises(SettingsError, match="SYNCD_HMAC_KEY"):
                compiled("x", _spec(mask="hmac"), key)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("4111111111111111", "****1111"), ("123456789", "****6789"), ("12345678", "****"), ("", "****"),
        (1234567890, "****7890"), ({"a": "long enough"}, "****"), (b"long enough", "****"),
    ],
)  # fmt: skip
def test_last4_shows_less_than_half(value: Any, shown: str) -> None:
    """`last4` shows four characters of at least nine, and nothing of bytes, objects and arrays."""
    assert _in_hash(value, mask="last4") == _in_json(value, mask="last4") == shown


def test_redact_says_nothing() -> None:
    """`redact` is one constant for all values."""
    assert {_in_hash(value, mask="redact") for value in ("a", 1, [2])} == {"[redacted]"}


def test_type_names_are_those_of_mongodb() -> None:
    """Messages use the names of MongoDB's `$type`."""
    examples = (1, Int64(1), 1.5, Binary(b""), ObjectId(), Timestamp(1, 1), {}, [], None)
    names = ["int", "long", "double", "binData", "objectId", "timestamp", "object", "array", "null"]
    assert [type_name(value) for value in examples] == names
    assert type_name({1}) == "a value of no BSON type"
