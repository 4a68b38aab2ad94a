"""When checks are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from syncd.contract.model.contract import Reconcile
from syncd.reconcile.schedule import is_quiet, trigger, was_missed

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def fires(count: int, start: datetime = MONDAY, **wanted: Any) -> list[datetime]:
    found, planned = [], trigger(Reconcile.model_validate(wanted))
    assert planned is not None
    before = start - timedelta(seconds=1)
    for _ in range(count):
        after = planned.get_next_fire_time(found[-1] if found else None, before)
        found.append(after)
        before = after + timedelta(seconds=1)
    return found


@pytest.mark.parametrize("number", range(8))
def test_a_number_means_the_weekday_that_cron_means(number: int) -> None:
    """`0 0 * * 0` is Sunday, not Monday."""
    names = {when.strftime("%A") for when in fires(5, schedule=f"0 0 * * {number}")}
    assert names == {NAMES[number % 7]}


@given(st.sets(st.integers(0, 6), min_size=1))
def test_any_set_of_weekdays(days: set[int]) -> None:
    """Whatever is listed, by name or by number, and nothing else."""
    wanted = {NAMES[day] for day in days}
    numbers, names = ",".join(map(str, days)), ",".join(NAMES[day][:3] for day in days)
    for field in (numbers, names):
        found = {when.strftime("%A") for when in fires(len(days) * 2, schedule=f"0 3 * * {field}")}
        assert found == wanted


def test_a_day_or_a_weekday() -> None:
    """Cron takes either where both are restricted: the 13th, and every Friday."""
    found = fires(6, schedule="0 0 13 * 5")
    assert [when.day for when in found] == [5, 12, 13, 19, 26, 3]


def test_every_quarter_of_an_hour() -> None:
    """In UTC."""
    assert [when.minute for when in fires(5, schedule="*/15 * * * *")] == [0, 15, 30, 45, 0]


def test_an_interval() -> None:
    """From start to start."""
    first, second = fires(2, start=datetime.now(UTC) + timedelta(hours=2), every="1.5h")
    assert second - first == timedelta(hours=1.5)


def test_jitter_moves_a_start_by_chance() -> None:
    """By no more than the contract says, and not always by the same."""
    starts = {fires(1, schedule="0 12 * * *", jitter="60s")[0] for _ in range(20)}
    noon = MONDAY + timedelta(hours=12)
    assert len(starts) > 1
    assert all(abs((when - noon).total_seconds()) <= 60 for when in starts)


def test_without_a_plan() -> None:
    """Only when a person asks."""
    assert trigger(Reconcile()) is None


@pytest.mark.parametrize(
    ("wanted", "hours", "missed"),
    [
        ({"schedule": "0 3 * * *"}, 2.9, False), ({"schedule": "0 3 * * *"}, 3.1, True),
        ({"schedule": "0 3 * * *"}, 300, True), ({"every": "1h"}, 0.9, False), ({"every": "1h"}, 1.1, True),
        ({}, 1000, False),
    ],
)  # fmt: skip
def test_a_check_that_was_due_while_no_daemon_ran(wanted: dict[str, str], hours: float, missed: bool) -> None:
    """Is known by the start of the last one, however many were due."""
    last = MONDAY.timestamp()
    assert was_missed(Reconcile.model_validate(wanted), last, last + hours * 3600) is missed


@pytest.mark.parametrize(
    ("time", "quiet"),
    [("05:59", False), ("06:00", True), ("09:29", True), ("09:30", False), ("21:59", False), ("22:00", True),
     ("23:59", True), ("00:00", True), ("00:29", True), ("00:30", False)],
)  # fmt: skip
def test_quiet_hours(time: str, quiet: bool) -> None:
    """With their first minute, without their last, and over midnight."""
    hours = ["06:00-09:30", "22:00-00:30"]
    at = datetime.combine(MONDAY.date(), datetime.strptime(time, "%H:%M").time(), UTC)
    assert is_quiet(hours, at) is quiet
    assert is_quiet(["00:00-24:00"], at)
    assert not is_quiet([], at)


@pytest.mark.parametrize(
    "wanted",
    [{"schedule": "0 0 * * 8"}, {"schedule": "@daily", "every": "1h"}, {"jitter": "5s"}, {"every": "15"},
     {"quiet_hours": ["6-9"]}, {"quiet_hours": ["06:00-25:00"]}, {"max_documents_per_second": 0}, {"often": True}],
)  # fmt: skip
def test_what_is_no_plan(wanted: dict[str, Any]) -> None:
    """Is told when the contract is read."""
    with pytest.raises(ValidationError):
        Reconcile.model_validate(wanted)
