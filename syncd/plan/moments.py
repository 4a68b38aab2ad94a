"""Numbers and texts as moments. A number counts from 1970, in milliseconds as for MongoDB's `$toDate`, or in the unit
that its type names. What is finer than a millisecond is cut off towards 1970, as `$toDate` does, unless `exact`."""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

from bson.datetime_ms import DatetimeMS

from syncd.contract.values import FieldType
from syncd.plan.dates import parse_date
from syncd.plan.numeric import INT64_MAX, INT64_MIN, NUMBER, refuse

_UNITS: dict[FieldType, int] = {"date": 0, "epoch": 3, "epoch_ms": 0, "epoch_us": -3}
"""Of what Redis holds under a type: the power of ten that makes milliseconds of it."""
_DOWN = Context(prec=1_000, rounding=ROUND_DOWN)


def moment_in_redis(value: Any, wanted: FieldType, *, exact: bool = False) -> DatetimeMS:
    """A text, or a number of JSON, that an application wrote under one of the types of moments.

    Raises ProjectionError: `cannot_convert`.
    """
    if type(value) is str and not NUMBER.fullmatch(value):
        return moment_of_iso(value, wanted, exact=exact)
    number = Decimal(value if type(value) is str else repr(value))
    return moment_of_number(value, number.scaleb(_UNITS[wanted], _DOWN), wanted, exact=exact)


def moment_of_iso(value: str, wanted: FieldType = "date", *, exact: bool = False) -> DatetimeMS:
    """A text in ISO 8601. Raises ProjectionError: `cannot_convert`."""
    try:
        return parse_date(value, exact=exact)
    except ValueError as error:
        refuse(value, wanted, str(error))


def moment_of_number(
    value: Any, millis: Decimal, wanted: FieldType = "date", *, exact: bool = False
) -> DatetimeMS:
    """So many milliseconds since 1970; `value` is what they were. Raises ProjectionError: `cannot_convert`."""
    if not millis.is_finite() or not INT64_MIN <= millis <= INT64_MAX:
        refuse(value, wanted, "it is beyond what a date holds")
    if exact and millis != millis.to_integral_value():
        refuse(value, wanted, "it is no whole number of milliseconds")
    return DatetimeMS(int(millis))
