"""The scheduler of checks, by APScheduler."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler


def new_scheduler(skipped: Callable[[str], None]) -> BackgroundScheduler:
    """One job at a time; the others wait. `skipped` is called with the name of a job that was due while it ran.

    A job runs however late it begins, and once for all the times that it was due meanwhile.
    """
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(1)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )

    def on_skip(event: JobSubmissionEvent) -> None:
        skipped(event.job_id)

    scheduler.add_listener(on_skip, EVENT_JOB_MAX_INSTANCES)
    return scheduler
