"""Cron lines of five fields, as `crontab(5)` has them: which minutes, hours, days, months and weekdays.

Sunday is 0 and 7. Where both the day of the month and the weekday are restricted, either is enough.
"""

from __future__ import annotations

from dataclasses import dataclass

_DIGITS = 5
"""Digits of a number at most: Python refuses to read one of thousands."""
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}


@dataclass(frozen=True, slots=True)
class Cron:
    """One line, each field as all its values."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    """0 is Sunday."""
    either_day: bool
    """Whether a day must fit `days` or `weekdays`; otherwise both."""


def parse_cron(text: str) -> Cron:
    """Read a line. Raises ValueError, `what|remedy`."""
    fields = _NAMED.get(text.strip(), text).lower().split()
    if len(fields) != 5:
        raise ValueError(
            "not a cron line of five fields|write minute, hour, day, month and weekday, such as 0 3 * * sun"
        )
    minute, hour, day, month, weekday = fields
    return Cron(
        minutes=_values("minute", minute, 0, 59),
        hours=_values("hour", hour, 0, 23),
        days=_values("day", day, 1, 31),
        months=_values("month", month, 1, 12, _MONTHS),
        weekdays=tuple(sorted({at % 7 for at in _values("weekday", weekday, 0, 7, WEEKDAYS)})),
        either_day=not day.startswith("*") and not weekday.startswith("*"),
    )


def _values(name: str, field: str, first: int, last: int, names: tuple[str, ...] = ()) -> tuple[int, ...]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and len(step) < _DIGITS and int(step) > 0):
            raise ValueError(f"the {name} of a cron line has a step that is no number|write such as */15")
        start, dash, end = span.partition("-")
        if span == "*":
            low, high = first, last
        else:
            low = _value(name, start, first, last, names)
            high = _value(name, end, first, last, names) if dash else last if slash else low
        if names is WEEKDAYS and dash and high < low:
            high += 7  # sat-sun, and fri-mon
        if high < low:
            raise ValueError(
                f"the {name} of a cron line has a range that runs backwards|write the smaller one first"
            )
        found.update(range(low, high + 1, int(step) if slash else 1))
    return tuple(sorted(found))


def _value(name: str, text: str, first: int, last: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + first
    if text.isdecimal() and len(text) < _DIGITS and first <= int(text) <= last:
        return int(text)
    raise ValueError(f"the {name} of a cron line cannot be read|write numbers from {first} to {last}")
