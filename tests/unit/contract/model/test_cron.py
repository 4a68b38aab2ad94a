"""Cron lines, as crontab(5) has them."""

from __future__ import annotations

import pytest

from syncd.contract.model.cron import parse_cron


@pytest.mark.parametrize(
    ("field", "weekdays"),
    [
        ("0", [0]), ("7", [0]), ("sun", [0]), ("1", [1]), ("MON", [1]), ("6", [6]), ("sat", [6]),
        ("1-5", [1, 2, 3, 4, 5]), ("mon-fri", [1, 2, 3, 4, 5]), ("5-7", [0, 5, 6]), ("sat-sun", [0, 6]),
        ("fri-mon", [0, 1, 5, 6]), ("0,3", [0, 3]), ("*", [0, 1, 2, 3, 4, 5, 6]), ("1-5/2", [1, 3, 5]),
    ],
)  # fmt: skip
def test_weekdays_count_from_sunday(field: str, weekdays: list[int]) -> None:
    """0 and 7 are Sunday, and a range may go over it."""
    assert list(parse_cron(f"0 0 * * {field}").weekdays) == weekdays


def test_a_whole_line() -> None:
    """Steps, lists, ranges and names."""
    cron = parse_cron("*/20 6-8,22 1,15 jan-mar/2 *")
    assert (cron.minutes, cron.hours, cron.days) == ((0, 20, 40), (6, 7, 8, 22), (1, 15))
    assert (cron.months, cron.either_day) == ((1, 3), False)
    assert parse_cron("5/20 0 1 * 1").minutes == (5, 25, 45)
    assert parse_cron("0 0 1 * 1").either_day
    assert parse_cron("@weekly") == parse_cron("0 0 * * sun")


@pytest.mark.parametrize(
    "line",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
     "*/x * * * *", "5-1 * * * *", "a * * * *", "* * * * mon-", "-1 * * * *", "@never", "1.5 * * * *"],
)  # fmt: skip
def test_what_is_no_cron_line(line: str) -> None:
    """Each has a reason and a remedy."""
    with pytest.raises(ValueError, match=r"^[^|]+\|[^|]+$"):
        parse_cron(line)
