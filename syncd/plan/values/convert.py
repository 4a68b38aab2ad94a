"""`type:` in a contract: a value of any BSON type into the one that the contract names, or not at all."""

from __future__ import annotations

import datetime
import re
import uuid
from decimal import Decimal
from typing import Any

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from syncd.contract.model.values import FieldType
from syncd.plan.values.bson_values import UUID_SUBTYPE, Function, Table, as_is, is_uuid, uuid_text
from syncd.plan.values.geo import GEO
from syncd.plan.values.moments import (
    in_millis,
    is_in_seconds,
    moment_in_redis,
    moment_of_iso,
    moment_of_number,
)
from syncd.plan.values.numeric import DECIMAL, DOUBLE, INT, INT64_MAX, INT64_MIN, refuse, refuser, to_bit
from syncd.plan.values.texts import HASH, json_text
from syncd.plan.values.vectors import vector_list, vector_numbers

_HEX24 = re.compile(r"[0-9a-fA-F]{24}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def convert(value: Any, field_type: FieldType) -> Any:
    """The value as `field_type`, in a type that `to_hash` and `to_json` take. null stays null.

    `epoch`, `epoch_ms` and `epoch_us` give numbers, `geo` gives `lon,lat`, `json` gives text. Raises ProjectionError
    (`cannot_convert`) where something would be lost; its detail names both types, never the value.
    """
    return None if value is None else CONVERT[field_type][type(value)](value)


def conversion(field_type: FieldType, *, exact: bool) -> Table:
    """`convert` by type given; `exact` refuses a moment that is finer than a millisecond, instead of cutting it off."""
    return _EXACT.get(field_type, CONVERT[field_type]) if exact else CONVERT[field_type]


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        refuse(value, "string", "the bytes are not UTF-8")


def _binary_to_string(value: Binary) -> str:
    return uuid_text(value) if is_uuid(value) else refuse(value, "string", "its bytes are no text")


def _json_to_string(value: Any) -> str:
    return json_text(value).decode()


def _code_to_string(value: Code) -> str:
    return str(value) if value.scope is None else _json_to_string(value)


def _text_to_bool(value: str) -> bool:
    return _BOOLS[value] if value in _BOOLS else refuse(value, "bool", "the text is neither true nor false")


def _to_long(to_int: Function) -> Function:
    return lambda value: Int64(to_int(value))


def _int_to_date(value: int) -> DatetimeMS:
    return DatetimeMS(int(value))


def _micros(value: DatetimeMS) -> int:
    micros = int(value) * 1000
    return (
        micros if INT64_MIN <= micros <= INT64_MAX else refuse(value, "epoch_us", "it does not fit 64 bits")
    )


def _seconds(value: DatetimeMS) -> int | float:
    """Whole seconds as int, else a double that gives the very milliseconds back."""
    millis = int(value)
    if millis % 1000 == 0:
        return millis // 1000
    seconds = millis / 1000
    exact = abs(millis) < 2**53 and round(seconds * 1000) == millis
    return seconds if exact else refuse(value, "epoch", "a double cannot hold its milliseconds")


def _text_to_object_id(value: str) -> ObjectId:
    return ObjectId(value) if _HEX24.fullmatch(value) else refuse(value, "objectId", "not 24 hex digits")


def _bytes_to_object_id(value: bytes) -> ObjectId:
    return ObjectId(value) if len(value) == 12 else refuse(value, "objectId", "not 12 bytes")


def _binary_to_uuid(value: Binary) -> Binary:
    return value if is_uuid(value) else refuse(value, "uuid", "only subtype 4 says its byte order")


def _text_to_uuid(value: str) -> Binary:
    if not _UUID.fullmatch(value):
        refuse(value, "uuid", "the text is not in the form 8-4-4-4-12")
    return Binary(bytes.fromhex(value.replace("-", "")), UUID_SUBTYPE)


def _any_vector(value: Any) -> list[float]:
    return vector_list(value, len(vector_numbers(value)))


def _dates(*, exact: bool = False, whole: bool = False) -> Table:
    """A number is milliseconds since 1970, as for MongoDB's `$toDate`, also as text; a small one with a fraction
    is seconds.

    `whole`: of a type whose own unit is another one, a number of milliseconds has no fraction and is no text, or it
    would be one of the other unit.
    """

    def of_number(value: Any) -> DatetimeMS:
        number = value.to_decimal() if type(value) is Decimal128 else Decimal(repr(value))
        if not whole and is_in_seconds(number) and number != number.to_integral_value():
            number = in_millis(number)
        return moment_of_number(value, number, exact=exact or whole)

    def of_text(value: str) -> DatetimeMS:
        return moment_of_iso(value, exact=exact) if whole else moment_in_redis(value, "date", exact=exact)

    numbers = dict.fromkeys((float, Decimal128), of_number)
    return Table({**_MOMENTS, **numbers, str: of_text}, refuser("date"))


def _through(dates: Table, finish: Function, wanted: FieldType) -> Table:
    def chain(to_date: Function) -> Function:
        return finish if to_date is as_is else lambda value: finish(to_date(value))

    return Table({kind: chain(to_date) for kind, to_date in dates.items()}, refuser(wanted))


_STRING = Table(
    {
        **HASH,
        str: as_is,
        bytes: _utf8,
        Binary: _binary_to_string,
        Code: _code_to_string,
        DBRef: _json_to_string,
        dict: _json_to_string,
        list: _json_to_string,
    },
    refuser("string"),
)
_BOOL = Table(
    {bool: as_is, int: to_bit, Int64: to_bit, float: to_bit, Decimal128: to_bit, str: _text_to_bool},
    refuser("bool"),
)
_MOMENTS: dict[type, Function] = {
    DatetimeMS: as_is,
    datetime.datetime: DatetimeMS,
    int: _int_to_date,
    Int64: _int_to_date,
}
_LONG = Table({kind: _to_long(to_int) for kind, to_int in INT.items()}, refuser("long"))
_OBJECT_ID = Table(
    {ObjectId: as_is, str: _text_to_object_id, bytes: _bytes_to_object_id}, refuser("objectId")
)
_UUIDS = Table(
    {
        Binary: _binary_to_uuid,
        uuid.UUID: lambda value: Binary(value.bytes, UUID_SUBTYPE),
        str: _text_to_uuid,
    },
    refuser("uuid"),
)
_BINARY = Table(
    {bytes: as_is, Binary: bytes, uuid.UUID: lambda value: value.bytes},
    refuser("binary"),
)
_VECTOR = Table({list: _any_vector, Binary: _any_vector}, refuser("vector"))

CONVERT: dict[FieldType, Table] = {
    "string": _STRING,
    "int": INT,
    "long": _LONG,
    "double": DOUBLE,
    "decimal": DECIMAL,
    "bool": _BOOL,
    "date": _dates(),
    "epoch": _through(_dates(whole=True), _seconds, "epoch"),
    "epoch_ms": _through(_dates(), int, "epoch_ms"),
    "epoch_us": _through(_dates(whole=True), _micros, "epoch_us"),
    "objectId": _OBJECT_ID,
    "uuid": _UUIDS,
    "binary": _BINARY,
    "json": Table(dict.fromkeys(HASH, _json_to_string), refuser("json")),
    "vector": _VECTOR,
    "geo": GEO,
}
"""`convert` by type wanted and type given."""

_EXACT: dict[FieldType, Table] = {
    "date": _dates(exact=True),
    "epoch": _through(_dates(exact=True, whole=True), _seconds, "epoch"),
    "epoch_ms": _through(_dates(exact=True), int, "epoch_ms"),
    "epoch_us": _through(_dates(exact=True, whole=True), _micros, "epoch_us"),
}
