"""When checks are due: what contracts say as triggers of APScheduler, and the hours in which none runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from syncd.contract.model.contract import Reconcile
from syncd.contract.model.cron import WEEKDAYS, Cron, parse_cron
from syncd.contract.model.values import parse_hours


def trigger(wanted: Reconcile) -> Any | None:
    """What fires when a check is due; None where nothing is planned."""
    jitter = wanted.jitter / 1000 if wanted.jitter else None
    if wanted.every is not None:
        return IntervalTrigger(seconds=max(1, round(wanted.every / 1000)), jitter=jitter, timezone=UTC)
    return None if wanted.schedule is None else _of_cron(parse_cron(wanted.schedule), jitter)


def _of_cron(cron: Cron, jitter: float | None) -> Any:
    day = _listed(cron.days)
    # APScheduler counts weekdays from Monday, cron from Sunday: only names mean the same to both.
    weekday = ",".join(WEEKDAYS[at] for at in cron.weekdays)
    if not cron.either_day:
        return _cron(cron, jitter, day=day, day_of_week=weekday)
    return OrTrigger([_cron(cron, None, day=day), _cron(cron, None, day_of_week=weekday)], jitter=jitter)


def _cron(cron: Cron, jitter: float | None, **days: str) -> Any:
    said = {"minute": _listed(cron.minutes), "hour": _listed(cron.hours), "month": _listed(cron.months)}
    return CronTrigger(**said, **days, jitter=jitter, timezone=UTC)


def _listed(values: Iterable[int]) -> str:
    return ",".join(map(str, values))


def was_missed(wanted: Reconcile, last: float, now: float) -> bool:
    """Whether a check was due between the end of the last one and now, in epoch seconds."""
    after = datetime.fromtimestamp(last, UTC)
    if wanted.every is not None:
        due: datetime | None = after + timedelta(milliseconds=wanted.every)
    else:
        planned = trigger(wanted.model_copy(update={"jitter": None}))
        due = planned.get_next_fire_time(None, after) if planned else None
    return due is not None and due.timestamp() <= now


def is_quiet(hours: Iterable[str], at: datetime) -> bool:
    """Whether a moment lies in one of these spans of the day."""
    minute = 60 * at.hour + at.minute
    for span in hours:
        start, end = parse_hours(span)
        if start <= minute < end if start <= end else not end <= minute < start:
            return True
    return False
