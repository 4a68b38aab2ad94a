"""One value as a part of a key. Two values have the same text exactly where MongoDB holds them equal.

What is usual stays plain: `42`, `tt0096463`, an ObjectId's hex digits, a UUID. A string that looks like one
of the others has its first character escaped (`%342`), and a value of any other type carries a tag,
`%~date~...`. No escape can look like a tag, since `~` is no hex digit. `:`, `{` and `}` never stand in it.
"""

from __future__ import annotations

import base64
import datetime
import re
import uuid
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, NoReturn

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

from syncd.errors import ProjectionError
from syncd.plan.values.bson_values import (
    CODEC,
    UUID_SUBTYPE,
    NoneType,
    Table,
    is_uuid,
    unsupported,
    uuid_text,
)
from syncd.plan.values.numeric import int_of_decimal, int_of_double
from syncd.plan.values.raw import ODD_ID, RawId
from syncd.plan.values.texts import HASH, NOT_UNICODE, regex_flags

LOOKS_TYPED = re.compile(
    r"(?P<object_id>[0-9a-f]{24})"
    r"|(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<integer>0|-?[1-9][0-9]*)"
)
FIRST_OF_TYPED = frozenset("-0123456789abcdef")
_ESCAPED = (*map(chr, range(0x21)), *"%:{}", *map(chr, range(0x7F, 0xA0)))
_ESCAPES = {ord(char): "".join(f"%{byte:02X}" for byte in char.encode()) for char in _ESCAPED}
NEVER_PLAIN = re.compile(f"[{re.escape(''.join(_ESCAPED))}]")

_EXACT = Context(prec=1100)
"""Digits enough for any double, which needs 767 at most, so that no rounding makes two numbers one."""


def encode_key_value(value: Any) -> str:
    """The text of a value in a key. Raises ProjectionError: `key_field_type` (an array), `not_unicode`.

    A RawId has a text that names its document, and that no key has.
    """
    text: str = KEY[type(value)](value)
    return text


def escape(text: str) -> str:
    """With `%XX` for what never stands in a key value."""
    return text.translate(_ESCAPES)


def _string(value: str) -> str:
    # The usual first, and cheaply: letters and digits, not like a number, an id or a UUID.
    if value[:1] in FIRST_OF_TYPED:
        if LOOKS_TYPED.fullmatch(value):
            return f"%{ord(value[0]):02X}{value[1:]}"
    elif value.isalnum():
        return value
    return escape(HASH[str](value)) if NEVER_PLAIN.search(value) or not value.isascii() else value


def _double(value: float) -> str:
    number = int_of_double(value)
    return _number(Decimal(value)) if number is None else str(number)


def _decimal(value: Decimal128) -> str:
    exact = value.to_decimal()
    number = int_of_decimal(exact)
    return _number(exact) if number is None else str(number)


def _number(value: Decimal) -> str:
    if value.is_nan():
        return "%~n~nan"
    if value.is_infinite():
        return "%~n~inf" if value > 0 else "%~n~-inf"
    return f"%~n~{_EXACT.normalize(value)}"


def _binary(value: Binary) -> str:
    return uuid_text(value) if is_uuid(value) else _bytes(value, value.subtype)


def _bytes(value: bytes, subtype: int = 0) -> str:
    return f"%~bin{subtype}~{_base64(value)}"


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _regex(value: Regex[Any]) -> str:
    return f"%~re~{escape(HASH[str](value.pattern))}~{regex_flags(value)}"


def _code(value: Code) -> str:
    if value.scope is None:
        return f"%~js~{escape(HASH[str](str(value)))}"
    return f"%~jsw~{_bson(value)}"


def _document(value: Any) -> str:
    return f"%~doc~{_bson(value)}"


def _bson(value: Any) -> str:
    # As a member: at the top level the driver moves `_id` to the front, which is another document to MongoDB.
    try:
        return _base64(bson.encode({"": _canonical(value)}, codec_options=CODEC))
    except UnicodeEncodeError:
        raise ProjectionError("not_unicode", NOT_UNICODE) from None


def _array(value: list[Any]) -> NoReturn:
    raise ProjectionError("key_field_type", "is an array, and a key needs a single value")


def _canonical(value: Any) -> Any:
    """The value with one representative for all that MongoDB holds equal to it, at every level."""
    return _CANONICAL[type(value)](value) if type(value) in _CANONICAL else value


def _canonical_number(value: float | Decimal128) -> Any:
    number = Decimal(value) if isinstance(value, float) else value.to_decimal()
    integer = int_of_decimal(number)
    return narrowest(number) if integer is None else integer


def narrowest(number: Decimal) -> float | Decimal128:
    """A double where one is exact, else a Decimal128. ArithmeticError for more than 34 digits."""
    if number.is_nan():
        return float("nan")
    double = float(number)
    return double if Decimal(double) == number else Decimal128(_EXACT.normalize(number))


def _canonical_document(value: dict[str, Any]) -> dict[str, Any]:
    return {name: _canonical(item) for name, item in value.items()}


_CANONICAL: dict[type, Callable[[Any], Any]] = {
    Int64: int,
    float: _canonical_number,
    Decimal128: _canonical_number,
    dict: _canonical_document,
    list: lambda value: [_canonical(item) for item in value],
    DBRef: lambda value: _canonical_document(dict(value.as_doc())),
    Code: lambda value: value if value.scope is None else Code(str(value), _canonical(value.scope)),
    datetime.datetime: DatetimeMS,
    uuid.UUID: lambda value: Binary(value.bytes, UUID_SUBTYPE),
}

KEY = Table(
    {
        str: _string,
        int: str,
        Int64: str,
        ObjectId: str,
        float: _double,
        Decimal128: _decimal,
        Binary: _binary,
        bytes: _bytes,
        uuid.UUID: str,
        bool: {True: "%~true", False: "%~false"}.__getitem__,
        NoneType: lambda value: "%~null",
        DatetimeMS: lambda value: f"%~date~{int(value)}",
        datetime.datetime: lambda value: f"%~date~{int(DatetimeMS(value))}",
        Timestamp: lambda value: f"%~ts~{value.time}.{value.inc}",
        Regex: _regex,
        Code: _code,
        MinKey: lambda value: "%~min",
        MaxKey: lambda value: "%~max",
        dict: _document,
        DBRef: _document,
        list: _array,
        RawId: lambda value: value.text,
    },
    unsupported,
)
"""`encode_key_value` by type."""


def refuse_raw(value: RawId) -> NoReturn:
    """No key has the text of a RawId."""
    raise ProjectionError("odd_id", ODD_ID)


PART = Table({**KEY, RawId: refuse_raw}, unsupported)
"""The same for what becomes a part of a key."""
