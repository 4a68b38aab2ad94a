"""Moments as text. BSON dates are 64-bit milliseconds since 1970, far beyond Python's years 1 to 9999."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from bson.datetime_ms import DatetimeMS

from syncd.errors import ProjectionError

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_EPOCH = date(1970, 1, 1).toordinal()
_CYCLE_DAYS = 146_097
"""Days of 400 Gregorian years, after which the calendar repeats."""
_MINUTES = tuple(f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1440))
_SECONDS = tuple(f"{second:02d}." for second in range(60))
_MILLIS = tuple(f"{millis:03d}Z" for millis in range(1000))

_FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""Of the years 1 to 9999."""

# RFC 9557, as Java's ZonedDateTime and JavaScript's Temporal write it, repeats the zone's name in brackets.
_ZONE = r"(?: ?(?P<zone>[Zz]|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)(?:\[[^\[\]]{1,64}\])?)?"
_FRACTION = r"(?:[.,](?P<fraction>[0-9]+))?"
_EXTENDED = re.compile(
    r"(?P<year>[0-9]{4}|[+-][0-9]{6,9})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    rf"(?:[Tt ](?P<hour>[0-9]{{2}}):(?P<minute>[0-9]{{2}})(?::(?P<second>[0-9]{{2}}){_FRACTION})?{_ZONE})?"
)
_BASIC = re.compile(
    r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    rf"[Tt](?P<hour>[0-9]{{2}})(?P<minute>[0-9]{{2}})(?P<second>[0-9]{{2}}){_FRACTION}{_ZONE}"
)


def date_text(value: DatetimeMS) -> str:
    """RFC 3339 in UTC with milliseconds; outside years 0 to 9999, ECMAScript's signed years of six digits."""
    day, rest = divmod(value.__int__(), _DAY_MS)
    minute, rest = divmod(rest, _MINUTE_MS)
    return f"{_day_text(day)}{_MINUTES[minute]}{_SECONDS[rest // 1000]}{_MILLIS[rest % 1000]}"


@lru_cache(maxsize=8192)
def _day_text(day: int) -> str:
    """`2020-01-02T` for a day counted from 1970."""
    cycles, rest = divmod(day, _CYCLE_DAYS)
    calendar = date.fromordinal(_EPOCH + rest)
    year = calendar.year + 400 * cycles
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+07d}"
    return f"{shown}-{calendar.month:02d}-{calendar.day:02d}T"


def check_years(value: DatetimeMS) -> None:
    """Raise `cannot_convert` beyond the years 1 to 9999, where drivers cannot read a date."""
    if not _FIRST_MS <= value.__int__() <= LAST_MS:
        raise ProjectionError(
            "cannot_convert", "a date beyond the years 1 to 9999, which drivers cannot read"
        )


def parse_date(text: str, *, exact: bool = False) -> DatetimeMS:
    """The inverse of `date_text`. A date alone is its midnight, no zone means UTC, as MongoDB has it.

    What is finer than a millisecond is cut off towards 1970, as MongoDB's `$toDate` does, unless `exact`. Raises
    ValueError, whose text says what is wrong without the value.
    """
    match = _EXTENDED.fullmatch(text) or _BASIC.fullmatch(text)
    if match is None:
        raise ValueError("it is not in ISO 8601")
    hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("there is no such time of day")
    day = _day_number(int(match["year"]), int(match["month"]), int(match["day"]))
    seconds = (day * 24 + hour) * 3600 + minute * 60 + second - _offset_seconds(match["zone"])
    millis = _millis(seconds, match["fraction"] or "", exact=exact)
    if not -(2**63) <= millis < 2**63:
        raise ValueError("it is beyond what a date holds")
    return DatetimeMS(millis)


def _day_number(year: int, month: int, day: int) -> int:
    cycles, year_in_cycle = divmod(year, 400)
    try:
        calendar = date(year_in_cycle + 2000, month, day)
    except ValueError:
        raise ValueError("there is no such day") from None
    return calendar.toordinal() - _EPOCH + (cycles - 5) * _CYCLE_DAYS


def _offset_seconds(zone: str | None) -> int:
    if zone is None or zone in ("Z", "z", "UTC"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("there is no such time zone")
    seconds = hours * 3600 + minutes * 60
    return -seconds if zone[0] == "-" else seconds


def _millis(seconds: int, fraction: str, *, exact: bool) -> int:
    millis = seconds * 1000 + int(fraction[:3].ljust(3, "0"))
    if not fraction[3:].strip("0"):
        return millis
    if exact:
        raise ValueError("it is finer than a millisecond")
    return millis + 1 if millis < 0 else millis
