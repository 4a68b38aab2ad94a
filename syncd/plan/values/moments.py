"""Numbers and texts as moments. A number counts from 1970, in milliseconds as for MongoDB's `$toDate`, or in the unit
that its type names; under `date` and `epoch_ms` a small one with a decimal point is seconds. What is finer than a
millisecond is cut off towards 1970, as `$toDate` does, unless `exact`."""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

from bson.datetime_ms import DatetimeMS

from syncd.contract.model.values import FieldType
from syncd.plan.values.dates import parse_date
from syncd.plan.values.numeric import INT64_MAX, INT64_MIN, NUMBER, refuse

_UNITS: dict[FieldType, int] = {"date": 0, "epoch": 3, "epoch_ms": 0, "epoch_us": -3}
"""Of what Redis holds under a type: the power of ten that makes milliseconds of it."""
_DOWN = Context(prec=1_000, rounding=ROUND_DOWN)
_SECONDS_BELOW = 10**11
"""Up to the year 5138 as seconds, before March 1973 as milliseconds."""


def moment_in_redis(value: Any, wanted: FieldType, *, exact: bool = False) -> DatetimeMS:
    """A text, or a number of JSON, that an application wrote under one of the types of moments.

    Raises ProjectionError: `cannot_convert`.
    """
    if type(value) is str and not NUMBER.fullmatch(value):
        return moment_of_iso(value, wanted, exact=exact)
    written = value if type(value) is str else repr(value)
    number = Decimal(written)
    if wanted in ("date", "epoch_ms") and (type(value) is float or "." in written) and is_in_seconds(number):
        return moment_of_number(value, in_millis(number), exact=exact)
    return moment_of_number(value, number.scaleb(_UNITS[wanted], _DOWN), wanted, exact=exact)


def is_in_seconds(number: Decimal) -> bool:
    """A number with a decimal point. Milliseconds of the first years with a fraction do not occur, and Python's
    `time.time()` always has a fraction."""
    return number.is_finite() and abs(number) < _SECONDS_BELOW


def in_millis(seconds: Decimal) -> Decimal:
    """So many seconds."""
    return seconds.scaleb(3, _DOWN)


def looks_like_seconds(value: Any) -> bool:
    """Whether an integer, also as text, is hardly meant as milliseconds: these would be January to April 1970."""
    if isinstance(value, bytes | str):
        return len(value) == 10 and value.isdigit() and value[:1] not in (b"0", "0")
    return isinstance(value, int) and 10**9 <= value < 10**10


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
