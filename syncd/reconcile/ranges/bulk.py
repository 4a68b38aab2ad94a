"""A check of a large collection in ranges, by the workers of any `concurrent.futures.Executor`.

A range is a whole check of its documents. Where it fails, or its worker dies, it is done again; its report counts
once. Reports are kept until the check is complete, see `progress`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from syncd.errors import FatalError, TransientError
from syncd.executors.places import OpenExecutor
from syncd.executors.proof import identity
from syncd.plan.to_redis.compile import Plan
from syncd.reconcile.base import STOPPED
from syncd.reconcile.ranges.job import Job, JobResult, run_job
from syncd.reconcile.ranges.progress import Progress, RangesRecord, now_ms
from syncd.reconcile.report import MOST_EXAMPLES, ReconcileReport
from syncd.stores.messages import described
from syncd.stores.mongo.reads.ranges import cut, ranges_between
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.store import RedisStore

RANGE_DOCUMENTS = 50_000
TICK_S = 1.0
PAUSES_S = (1.0, 4.0, 15.0)
"""Before a range is tried again. An executor that breaks with nothing done is replaced as many times."""


@dataclass(frozen=True)
class BulkOrder:
    """What a check in ranges is to do."""

    repair: bool = False
    range_documents: int = RANGE_DOCUMENTS
    chunk: int = 2000
    rate: float = 0.0
    """Documents a second at most, of all workers together; 0: as fast as it goes."""
    wait_s: float = 30.0
    read_preference: str = "primary"


class Bulk:
    """One check, directed by one thread. `report` may be read at any time."""

    def __init__(
        self,
        plan: Plan,
        mongo: MongoStore,
        redis: RedisStore,
        order: BulkOrder,
        open_executor: OpenExecutor,
        stop: threading.Event,
    ) -> None:
        self._plan, self._mongo, self._redis = plan, mongo, redis
        self._order, self._stop = order, stop
        self._open = open_executor
        self._progress = Progress(redis, plan.name)
        self._jobs: dict[int, Job] = {}
        """The jobs that are left."""
        self._tries: Counter[int] = Counter()
        self._later: list[tuple[float, Job]] = []
        """Jobs to try again, each with the time."""
        self._heard = time.monotonic()
        self._unsaved: dict[int, dict[str, Any]] = {}
        self._ended: queue.SimpleQueue[Future[JobResult]] = queue.SimpleQueue()
        self.report = ReconcileReport(plan.name, "full", order.repair, note=plan.not_compared)

    def run(self) -> ReconcileReport:
        """Compare all ranges that are left, and all keys. Raises StoreError."""
        try:
            if self._progress.take(self._stop):
                self._prepare()
                self._rounds()
                self._close()
            else:
                self.report.ended = STOPPED
        finally:
            self.report.finished = time.time()
            self._progress.release()
        return self.report

    def _rounds(self) -> None:
        broken = 0
        while self._jobs and not self._is_over():
            left = len(self._jobs)
            if self._round():
                broken = 1 if len(self._jobs) < left else broken + 1
            if broken > len(PAUSES_S):
                raise FatalError("workers", f"they died {broken} times, with nothing done; is there memory?")

    def _close(self) -> None:
        if not self._jobs:
            self._progress.finish()
            return
        self._keep()
        if self._stop.is_set():
            self.report.ended = f"{STOPPED}; the same call goes on with the ranges that are left"

    def _is_over(self) -> bool:
        return self._stop.is_set() or bool(self.report.ended)

    def _prepare(self) -> None:
        """Go on with what an earlier call left, or begin."""
        found = self._progress.load()
        same = (self._plan.fingerprint, self._order.repair)
        if found is None or not found.done or (found.fingerprint, found.repair) != same:
            bounds = cut(self._mongo, self._plan, self._order.range_documents)
            found = RangesRecord(*same, self.report.started, bounds)
            self._progress.begin(found)
        else:
            self.report.started = found.started
            when = datetime.fromtimestamp(found.started, UTC).isoformat(timespec="seconds")
            self.report.note = f"goes on with a check of {when}; {len(found.done)} parts were done"
        for report in found.done.values():
            self.report.add(report)
        self._jobs = {n: job for n, job in enumerate(self._all_jobs(found.bounds)) if n not in found.done}

    def _all_jobs(self, bounds: list[bytes]) -> list[Job]:
        """The keys come first: to scan them takes longest."""
        mongo, begun = identity(self._mongo), now_ms(self._redis)
        order = self._order
        return [
            Job(number, documents, self._plan.contract, self._plan.fingerprint, mongo, self._progress.run,
                order.repair, order.chunk, order.wait_s, order.rate, begun, order.read_preference)
            for number, documents in enumerate([None, *ranges_between(bounds)])
        ]  # fmt: skip

    def _round(self) -> bool:
        """With one executor, until nothing is left or the check is to stop; True when the executor broke."""
        self._ended, self._later = queue.SimpleQueue(), []
        with self._open() as executor:
            waiting: dict[Future[JobResult], Job] = {}
            try:
                for job in self._jobs.values():
                    self._submit(executor, job, waiting)
                while (waiting or self._later) and not self._is_over():
                    self._keep()
                    for job in self._due():
                        self._submit(executor, job, waiting)
                    self._take_one(waiting)
            except BrokenExecutor:
                return True
            finally:
                for future in waiting:
                    future.cancel()
                if self._is_over():  # before the executor waits for its workers
                    self._progress.release()
        return False

    def _submit(self, executor: Executor, job: Job, waiting: dict[Future[JobResult], Job]) -> None:
        future = executor.submit(run_job, job)
        waiting[future] = job
        future.add_done_callback(self._ended.put)

    def _due(self) -> list[Job]:
        """Jobs that are to be tried again now."""
        now = time.monotonic()
        due = [job for when, job in self._later if when <= now]
        self._later = [(when, job) for when, job in self._later if when > now]
        return due

    def _take_one(self, waiting: dict[Future[JobResult], Job]) -> None:
        """Wait a moment for a job to end."""
        try:
            future = self._ended.get(timeout=TICK_S)
        except queue.Empty:
            return
        job = waiting.pop(future)
        if future.cancelled():  # not by us
            raise BrokenExecutor
        trouble = self._take(future, job)
        if not trouble or self._is_over():
            return
        tried, self._tries[job.number] = self._tries[job.number], self._tries[job.number] + 1
        if tried == len(PAUSES_S):
            raise FatalError("workers", f"a part failed {tried + 1} times, at last: {trouble}")
        self._later.append((time.monotonic() + PAUSES_S[tried], job))

    def _take(self, future: Future[JobResult], job: Job) -> str:
        """Count what a job found; or return what was wrong, where it may pass by itself."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            raise error
        if error is not None:  # a worker that dies again and again, or that cannot read the job
            return described(error)
        number, said, trouble, passes = future.result()
        if said is None:
            if not passes:
                raise FatalError("workers", trouble)
            return trouble
        if said["ended"] == STOPPED:
            return "the worker lost contact with the command"
        if said["ended"]:
            self.report.ended = said["ended"]
            return ""
        said["examples"] = said["examples"][: MOST_EXAMPLES - len(self.report.examples)]
        self.report.add(said)
        self._unsaved[number] = said
        del self._jobs[number]
        return ""

    def _keep(self) -> None:
        """Renew the hold on the check, and store reports. Redis may be away for a while."""
        try:
            self._progress.renew()
            while self._unsaved:
                number = next(iter(self._unsaved))
                self._progress.note(number, self._unsaved[number])
                del self._unsaved[number]
            self._heard = time.monotonic()
        except TransientError:
            if time.monotonic() > self._heard + self._order.wait_s:
                raise
