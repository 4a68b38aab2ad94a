"""An example of every type that BSON has, as bytes off the wire. `type_table` makes the reference of them."""

# ruff: noqa: E501 - a row a line reads as a table

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import bson
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from syncd.contract.model.values import FieldType
from syncd.plan.values.bson_values import CODEC, VECTOR_SUBTYPE
from syncd.plan.values.vectors import FLOAT32, INT8, PACKED_BIT

_OID = bytes.fromhex("65a1b2c3d4e5f60718293a4b")
_UUID = bytes.fromhex("12345678123456781234567812345678")
_ONE_WAY = "coming from Redis a dead letter: drivers cannot read it"
_LOST = "the subtype is lost in Redis"


@dataclass(frozen=True, slots=True)
class Row:
    """One example. `shown` is how mongosh writes it, `document` the BSON of `{v: example}` or of `{}`."""

    type: str
    shown: str
    document: bytes
    back: FieldType | None = None
    """The `type:` with which the same value comes back from Redis."""
    note: str = ""

    @property
    def value(self) -> Any:
        """The example as syncd decodes it. Raises KeyError for the missing field."""
        return bson.decode(self.document, CODEC)["v"]


def _row(kind: str, shown: str, value: Any, back: FieldType | None = None, note: str = "") -> Row:
    return Row(kind, shown, bson.encode({"v": value}, codec_options=CODEC), back, note)


def _raw(kind: str, shown: str, code: int, payload: bytes, note: str) -> Row:
    """A type that the driver reads and never writes."""
    body = bytes([code]) + b"v\0" + payload + b"\0"
    return Row(kind, shown, struct.pack("<i", len(body) + 4) + body, None, note)


def _string(text: str) -> bytes:
    encoded = text.encode() + b"\0"
    return struct.pack("<i", len(encoded)) + encoded


def _bin(subtype: int, name: str, note: str = _LOST) -> Row:
    return _row(
        f"Binary {subtype}, {name}",
        f'BinData({subtype}, "AQL/")',
        Binary(b"\x01\x02\xff", subtype),
        None,
        note,
    )


def _vector(name: str, element: int, padding: int, data: bytes, note: str) -> Row:
    value = Binary(bytes([element, padding]) + data, VECTOR_SUBTYPE)
    return _row(f"Binary 9, vector of {name}", f"{name} vector", value, None, note)


ROWS = (
    _row("double", "1.5", 1.5, "double"),
    _row("double, integral", "3.0", 3.0, "double", "a number to RediSearch and to applications"),
    _row("double, negative zero", "-0.0", -0.0, "double"),
    _row("double, large", "1e300", 1e300, "double"),
    _row("double, NaN", "NaN", float("nan"), "double", "a numeric index refuses the whole key"),
    _row("double, infinity", "Infinity", float("inf"), "double"),
    _row("double, minus infinity", "-Infinity", float("-inf"), "double"),
    _row("string", '"tt0096463"', "tt0096463", "string"),
    _row("string, like a number", '"42"', "42", "string"),
    _row("string, empty", '""', "", "string"),
    _row("string, special characters", '"a b:{é}%"', "a b:{é}%", "string"),
    _row("object", '{a: 1, b: ["x", null]}', {"a": 1, "b": ["x", None]}, "json"),
    _row("array", '[1, "two", 2.5]', [1, "two", 2.5], "json", "no key: a key needs a single value"),
    _row("Binary 0, generic", 'BinData(0, "AQL/")', b"\x01\x02\xff", "binary"),
    _bin(1, "function"),
    _bin(2, "old generic"),
    _row(
        "Binary 3, old UUID", 'BinData(3, "EjRWeBI0VngSNFZ4EjRWeA==")', Binary(_UUID, 3), None,
        f"its byte order differs between drivers, so it is no UUID here; {_LOST}",
    ),
    _row("Binary 4, UUID", 'UUID("12345678-1234-5678-1234-567812345678")', Binary(_UUID, 4), "uuid"),
    _bin(5, "MD5"),
    _bin(6, "encrypted"),
    _bin(7, "compressed time series"),
    _bin(8, "sensitive"),
    _vector("FLOAT32", FLOAT32, 0, struct.pack("<2f", 0.5, -2), "the elements, little-endian, without BSON's header"),
    _vector("INT8", INT8, 0, b"\x01\xff", "the elements, a byte each"),
    _vector("PACKED_BIT", PACKED_BIT, 4, b"\xf0\xa0", "the packed bytes, highest bit first; in a hash the padding is lost"),
    _bin(128, "user defined"),
    _raw("undefined (deprecated)", "undefined", 0x06, b"", "read as null"),
    _row("ObjectId", f'ObjectId("{_OID.hex()}")', ObjectId(_OID), "objectId"),
    _row("bool", "true", True, "bool"),
    _row("bool", "false", False, "bool"),
    _row("Date", 'ISODate("2020-01-02T03:04:05.678Z")', DatetimeMS(1_577_934_245_678), "date"),
    _row("Date before 1970", 'ISODate("1969-12-31T23:59:59.999Z")', DatetimeMS(-1), "date"),
    _row("Date after 9999", "new Date(253402300800000)", DatetimeMS(253_402_300_800_000), None, _ONE_WAY),
    _row("Date before year 0", "new Date(-62198755200000)", DatetimeMS(-62_198_755_200_000), None, _ONE_WAY),
    _row("Date, the last", '2^63 - 1 milliseconds', DatetimeMS(2**63 - 1), None, _ONE_WAY),
    _row("null", "null", None, None, "`null: keep` makes it the empty string in a hash, `null: omit` leaves it out of JSON"),
    Row("missing", "", bson.encode({}), None, "never the same as null"),
    _row("Regex", "/a:b+/im", Regex("a:b+", "im")),
    _raw("DBPointer (deprecated)", 'DBPointer("c", ObjectId(...))', 0x0C, _string("c") + _OID, "read as DBRef"),
    _row("DBRef (an object)", 'DBRef("c", 1, "db")', DBRef("c", 1, "db")),
    _row("Code", 'Code("f(x)")', Code("f(x)")),
    _raw("Symbol (deprecated)", "Symbol", 0x0E, _string("sym"), "read as string"),
    _row("Code with scope (deprecated)", 'Code("f(x)", {x: 1})', Code("f(x)", {"x": 1}), None, "extended JSON, canonical"),
    _row("int32", "42", 42, "int"),
    _row("int32, negative", "-7", -7, "int"),
    _row("Timestamp", "Timestamp(1577934245, 7)", Timestamp(1_577_934_245, 7)),
    _row("int64", 'NumberLong("5")', Int64(5), "int", "comes back as the same number, in int32 where it fits"),
    _row("int64 above 2^53", 'NumberLong("9007199254740993")', Int64(2**53 + 1), "int", "exact; JavaScript's JSON.parse rounds it"),
    _row("Decimal128", 'NumberDecimal("19.90")', Decimal128("19.90"), "decimal", "text in JSON, where a number would be a double"),
    _row("Decimal128, exponent", 'NumberDecimal("1E+3")', Decimal128("1E+3"), "decimal"),
    _row("Decimal128, small", 'NumberDecimal("1E-6176")', Decimal128("1E-6176"), "decimal"),
    _row("Decimal128, minus zero", 'NumberDecimal("-0")', Decimal128("-0"), "decimal"),
    _row("Decimal128, NaN", 'NumberDecimal("NaN")', Decimal128("NaN"), "decimal"),
    _row("Decimal128, infinity", 'NumberDecimal("-Infinity")', Decimal128("-Infinity"), "decimal"),
    _row("MinKey", "MinKey()", MinKey()),
    _row("MaxKey", "MaxKey()", MaxKey()),
)  # fmt: skip
"""Every BSON type, in the order of the type numbers on the wire; MinKey and MaxKey last."""
