"""What one worker does of a check in ranges, in any process on any machine: one range, or all keys.

A job is plain and small. It holds no address and no key of masks: a worker reaches the servers by the settings of its
own environment, and proves that they are the same servers.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from syncd import __version__
from syncd.contract.model.contract import Contract
from syncd.errors import SyncdError, TransientError
from syncd.executors.proof import same_mongo, same_plan
from syncd.reconcile.check import Check, Order
from syncd.reconcile.ranges.progress import Pace, Watch, holds
from syncd.reconcile.report import ReconcileReport
from syncd.settings import Settings
from syncd.stores.mongo.reads.ranges import Range
from syncd.stores.mongo.store import MongoStore, read_preference
from syncd.stores.redis.store import RedisStore


@dataclass(frozen=True)
class Job:
    """One part of a check. What is logged of it are numbers."""

    number: int
    documents: Range | None
    """None: the keys, which are scanned once for all ranges."""
    contract: Contract = field(repr=False)
    fingerprint: str
    mongo: str = field(repr=False)
    """Which MongoDB, see `proof`."""
    run: str
    repair: bool
    chunk: int
    wait_s: float
    rate: float
    """Of all workers together."""
    begun_ms: int
    read_preference: str = "primary"
    version: str = __version__


class JobResult(NamedTuple):
    """How a job ended. Errors come as text: not every one can be sent from process to process."""

    number: int
    report: dict[str, Any] | None
    trouble: str = ""
    passes: bool = False
    """Whether it may pass by itself."""


def run_job(job: Job) -> JobResult:
    """Check one part. Opens its own connections, and closes them."""
    try:
        return JobResult(job.number, _check(job).as_dict())
    except SyncdError as error:
        return JobResult(
            job.number, None, f"{socket.gethostname()}: {error}", isinstance(error, TransientError)
        )


def _check(job: Job) -> ReconcileReport:
    settings = Settings.from_environment()
    plan = same_plan(job.contract, job.fingerprint, job.version, settings)
    mongo = MongoStore.of(settings)
    redis = RedisStore.of(settings)
    stop = threading.Event()
    with contextlib.closing(mongo), contextlib.closing(redis):
        redis.connect()
        _refuse_others(job, mongo, redis)
        order = Order(
            repair=job.repair, chunk=job.chunk, wait_s=job.wait_s,
            documents=job.documents, keys=job.documents is None,
            read_preference=read_preference(job.read_preference),
        )  # fmt: skip
        with Watch(redis, plan.name, job.run, stop):
            pace = Pace(redis, plan.name, job.run, job.rate, job.begun_ms)

            def wait() -> str:
                stop.wait(pace.ahead(check.report.documents))
                return ""  # no reason to end

            check = Check(plan, mongo, redis, order, stop, wait)
            return check.run()


def _refuse_others(job: Job, mongo: MongoStore, redis: RedisStore) -> None:
    """On other servers the check would find a difference at every document."""
    if not holds(redis, job.contract.name, job.run):
        raise TransientError(
            "redis",
            "the Redis of this worker does not know of the check; is its SYNCD_REDIS_URL the command's?",
        )
    same_mongo(mongo, job.mongo)
