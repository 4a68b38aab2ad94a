"""Numbers from one type into another without loss. A bool counts as 0 or 1."""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

from bson.decimal128 import Decimal128
from bson.int64 import Int64

from syncd.contract.model.values import FieldType
from syncd.errors import ProjectionError
from syncd.plan.values.bson_values import Table, as_is, type_name

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_SPECIAL = {
    "nan": "NaN", "inf": "Infinity", "-inf": "-Infinity",
    "NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity",
}  # fmt: skip
_NOUNS: dict[FieldType, str] = {
    "int": "an int",
    "epoch": "an epoch",
    "epoch_ms": "an epoch_ms",
    "epoch_us": "an epoch_us",
    "objectId": "an objectId",
    "json": "JSON",
    "geo": "a point",
}
_TOO_LARGE = "it does not fit 64 bits"
_FRACTION = "it has a fraction"
_NOT_NUMERIC = "the text is no number"
_DIGITS = "a double cannot hold all its digits"

Refuse: TypeAlias = Callable[[Any], NoReturn]


def refuse(value: Any, wanted: FieldType, why: str = "") -> NoReturn:
    """Raise `cannot_convert`. `why` never holds the value: it ends in logs and dead letters."""
    detail = f"{type_name(value)} is not {_NOUNS.get(wanted) or f'a {wanted}'}"
    raise ProjectionError("cannot_convert", f"{detail}: {why}" if why else detail)


def refuser(wanted: FieldType) -> Refuse:
    """The default of a table: refuses every type that it does not list."""
    return lambda value: refuse(value, wanted)


def int_of_decimal(number: Decimal) -> int | None:
    """The number as 64-bit integer if it is one. Checks the range first: 1E+6000 is never written out."""
    if not number.is_finite() or not INT64_MIN <= number <= INT64_MAX:
        return None
    return int(number) if number == number.to_integral_value() else None


def int_of_double(number: float) -> int | None:
    """The number as 64-bit integer if it is one."""
    return int(number) if number.is_integer() and -(2.0**63) <= number < 2.0**63 else None


def _double_to_int(value: float) -> int:
    number = int_of_double(value)
    return refuse(value, "int", _FRACTION if abs(value) < 2**63 else _TOO_LARGE) if number is None else number


def _decimal_to_int(value: Decimal128) -> int:
    number = int_of_decimal(value.to_decimal())
    return refuse(value, "int", "it has a fraction or does not fit 64 bits") if number is None else number


def _text_to_int(value: str) -> int:
    if not _INTEGER.fullmatch(value):
        refuse(value, "int", "no integer")
    number = int(value)
    return number if INT64_MIN <= number <= INT64_MAX else refuse(value, "int", _TOO_LARGE)


def _int_to_double(value: int) -> float:
    number = float(value) if INT64_MIN <= value <= INT64_MAX else math.nan
    return number if number == value else refuse(value, "double", _DIGITS)


def _exact_double(value: Any, number: Decimal) -> float:
    """A double that equals the number, or whose shortest text does: either way the number can be had back."""
    if number.is_nan():
        return math.nan
    double = float(number)
    if number.is_infinite() or Decimal(repr(double)) == number or Decimal(double) == number:
        return double
    refuse(value, "double", _DIGITS)


def _decimal_to_double(value: Decimal128) -> float:
    return _exact_double(value, value.to_decimal())


def _text_to_double(value: str) -> float:
    return _exact_double(value, Decimal(_numeric_text(value, "double")))


def _numeric_text(value: str, wanted: FieldType) -> str:
    if NUMBER.fullmatch(value):
        return value
    return _SPECIAL.get(value) or refuse(value, wanted, _NOT_NUMERIC)


def _decimal128(value: Any, text: str) -> Decimal128:
    try:
        return Decimal128(text)
    except decimal.DecimalException:
        refuse(value, "decimal", "more than 34 digits or too large an exponent")


def _text_to_decimal(value: str) -> Decimal128:
    return _decimal128(value, _numeric_text(value, "decimal"))


def _number_to_decimal(value: float) -> Decimal128:
    text = repr(value)
    return _decimal128(value, _SPECIAL.get(text, text))


def _int_to_decimal(value: int) -> Decimal128:
    return _decimal128(value, str(int(value)))


def to_bit(value: Any) -> bool:
    """0 and 1, of any number type, as bool."""
    number = int_of_decimal(value.to_decimal()) if type(value) is Decimal128 else value
    if number in (0, 1):
        return bool(number)
    refuse(value, "bool", "it is neither 0 nor 1")


INT = Table(
    {
        int: as_is,
        Int64: int,
        bool: int,
        float: _double_to_int,
        Decimal128: _decimal_to_int,
        str: _text_to_int,
    },
    refuser("int"),
)

DOUBLE = Table(
    {
        float: as_is,
        int: _int_to_double,
        Int64: _int_to_double,
        bool: float,
        Decimal128: _decimal_to_double,
        str: _text_to_double,
    },
    refuser("double"),
)

DECIMAL = Table(
    {
        Decimal128: as_is,
        int: _int_to_decimal,
        Int64: _int_to_decimal,
        bool: _int_to_decimal,
        float: _number_to_decimal,
        str: _text_to_decimal,
    },
    refuser("decimal"),
)
