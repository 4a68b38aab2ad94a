"""Checks of the contracts of one process: by schedule, or on request. One at a time, beside the lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from syncd import telemetry
from syncd.contract.model.contract import Reconcile
from syncd.errors import StoreError, TransientError
from syncd.lanes.situation import State
from syncd.plan.base import ContractPlan
from syncd.reconcile.check import Order
from syncd.reconcile.kinds import new_check
from syncd.reconcile.report import keep_report, reports
from syncd.settings import Settings
from syncd.stores.mongo.store import MongoStore, read_preference
from syncd.stores.redis.store import RedisStore

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

SCHEDULE, MISSED, ASKED = "schedule", "missed", "asked"
MISSED_AFTER_S = 5.0
"""The wait before a check that was due before a start, or that an election ended; again while the lane comes up."""
STOP_S = 10.0
_NOTHING_PLANNED = Reconcile()


class Checks:
    """Thread-safe. `lane_of` gives the lane of a contract in this process, which must hold the lease."""

    def __init__(
        self, mongo: MongoStore, redis: RedisStore, settings: Settings, lane_of: Callable[[str], Any]
    ) -> None:
        self._mongo, self._redis, self._settings, self._lane_of = mongo, redis, settings, lane_of
        self._plans: dict[str, ContractPlan] = {}
        self._stops: dict[str, threading.Event] = {}
        self._scheduler: BackgroundScheduler | None = None
        self._lock = threading.Lock()

    def follow(self, plans: Iterable[ContractPlan]) -> None:
        """Check exactly these contracts from now on, as each says."""
        wanted = {plan.name: plan for plan in plans}
        with self._lock:
            changed = [name for name, plan in self._plans.items() if not _same(plan, wanted.get(name))]
            new = [name for name in wanted if name not in self._plans or name in changed]
            self._plans = wanted
            for name in changed:
                if stop := self._stops.get(name):
                    stop.set()
                self._forget(name)
            for name in new:
                if _planned(wanted[name]):
                    self._plan(wanted[name])

    def ask(self, contract: str, repair: bool | None) -> str | None:
        """Check now, or after the check that runs. `repair`: None as the contract says.

        Returns why not, an empty text where it will be done, None for a contract that does not run here.
        """
        with self._lock:
            if contract not in self._plans or self._lane_of(contract) is None:
                return None
            if why := self._why_not(contract):
                return why
            scheduler = self._started()
            if scheduler.get_job(_asked(contract)) or contract in self._stops:
                return f"a check of {contract} is under way already"
            scheduler.add_job(self._run, args=(contract, ASKED, repair), id=_asked(contract))
            return ""

    def stop(self) -> None:
        """End the checks that run, in order."""
        with self._lock:
            for stop in self._stops.values():
                stop.set()
            scheduler, self._scheduler, self._plans = self._scheduler, None, {}
        if scheduler is not None:
            scheduler.shutdown(wait=False)
        end = time.monotonic() + STOP_S
        while self._stops and time.monotonic() < end:
            time.sleep(0.02)

    def _started(self) -> BackgroundScheduler:
        """The scheduler; it is not imported before the first check is planned."""
        if self._scheduler is None:
            from syncd.daemon.scheduler import new_scheduler  # noqa: PLC0415

            self._scheduler = new_scheduler(self._skipped)
            self._scheduler.start()
        return self._scheduler

    def _plan(self, plan: ContractPlan) -> None:
        from syncd.reconcile.schedule import trigger  # noqa: PLC0415

        wanted = plan.contract.reconcile
        assert wanted is not None
        scheduler = self._started()
        scheduler.add_job(
            self._run, trigger(wanted), args=(plan.name, SCHEDULE), id=plan.name, name=plan.name
        )
        # Redis knows whether a check was due while no daemon ran, but may not answer yet.
        _later(scheduler, plan.name, self._missed)

    def _again(self, contract: str, job: Callable[[str], None]) -> None:
        """Run a job for a contract after MISSED_AFTER_S, unless the contract is gone by then."""
        with self._lock:
            if self._scheduler is not None and contract in self._plans:
                _later(self._scheduler, contract, job)

    def _missed(self, contract: str) -> None:
        from syncd.reconcile.schedule import was_missed  # noqa: PLC0415

        plan, lane = self._plans.get(contract), self._lane_of(contract)
        if plan is None or lane is None or (wanted := plan.contract.reconcile) is None:
            return
        if lane.state.comes_up:
            self._again(contract, self._missed)
            return
        try:
            before = reports(self._redis, contract, 1)
        except StoreError:
            self._again(contract, self._missed)
            return
        if before:
            telemetry.check_known(contract, before[0])
            if was_missed(wanted, before[0]["started"], time.time()):
                self._run(contract, MISSED)

    def _make_up(self, contract: str) -> None:
        if (lane := self._lane_of(contract)) is not None and lane.state.comes_up:
            self._again(contract, self._make_up)
        else:
            self._run(contract, MISSED)

    def _forget(self, contract: str) -> None:
        if self._scheduler is not None:
            for job in (contract, f"{contract} missed", _asked(contract)):
                if self._scheduler.get_job(job):
                    self._scheduler.remove_job(job)

    def _skipped(self, job: str) -> None:
        telemetry.check_skipped(job.partition(" ")[0], "the one before still runs")

    def _why_not(self, contract: str) -> str:
        """The reason a check would be of no use here, or an empty string."""
        lane = self._lane_of(contract)
        state = lane.state if lane is not None else State.STOPPED
        return "" if state is State.LIVE else f"the lane of {contract} is {state.shown}, not live"

    def _run(self, contract: str, reason: str, repair: bool | None = None) -> None:
        """A job: one check. Errors are logged."""
        with self._lock:
            plan = self._plans.get(contract)
            if plan is None or contract in self._stops:
                return
            wanted = plan.contract.reconcile or _NOTHING_PLANNED
            # A check that a person asks for runs also in quiet hours.
            hours = wanted.quiet_hours if reason != ASKED else ()
            if why := self._why_not(contract) or _quiet(hours):
                telemetry.check_skipped(contract, why)
                return
            stop = self._stops[contract] = threading.Event()
        try:
            self._check(plan, wanted.mode == "repair" if repair is None else repair, reason, hours, stop)
        except TransientError as error:
            telemetry.check_failed(contract, str(error))
            if reason != ASKED:  # an election or a restart: the next by schedule may be a week away
                self._again(contract, self._make_up)
        except StoreError as error:
            telemetry.check_failed(contract, str(error))
        except Exception:  # noqa: BLE001 - a bug in a check must not end the schedule, nor go unseen
            telemetry.check_bug(contract)
        finally:
            self._stops.pop(contract, None)

    def _check(
        self, plan: ContractPlan, repair: bool, reason: str, hours: tuple[str, ...], stop: threading.Event
    ) -> None:
        wanted = plan.contract.reconcile or _NOTHING_PLANNED
        lane = self._lane_of(plan.name)
        order = Order(
            repair=repair,
            by_digest=wanted.check == "digest",
            chunk=min(self._settings.chunk_documents, wanted.max_documents_per_second),
            rate=wanted.max_documents_per_second,
            partition=lane.status.partition,
            read_preference=read_preference(wanted.read_preference),
        )
        counted = 0

        def may_go_on() -> str:
            nonlocal counted
            telemetry.check_progress(plan.name, check.report.documents - counted)
            counted = check.report.documents
            if (state := lane.state).is_away:
                return f"the lane is {state.shown}"
            return _quiet(hours)

        stores = self._mongo, self._redis
        check = new_check(plan, *stores, order, self._settings.site, stop, may_go_on)
        telemetry.check_started(plan.name, check.report.check, repair, reason)
        report = check.run()
        telemetry.check_progress(plan.name, report.documents - counted)
        said = report.as_dict()
        lane.status.check = {name: value for name, value in said.items() if name != "examples"}
        keep_report(self._redis, report)
        telemetry.check_finished(plan.name, said)


def _later(scheduler: BackgroundScheduler, contract: str, job: Callable[[str], None]) -> None:
    at = datetime.now(UTC) + timedelta(seconds=MISSED_AFTER_S)
    scheduler.add_job(
        job, "date", run_date=at, args=(contract,), id=f"{contract} missed", replace_existing=True
    )


def _same(plan: ContractPlan, other: ContractPlan | None) -> bool:
    return other is not None and plan.contract == other.contract and plan.fingerprint == other.fingerprint


def _planned(plan: ContractPlan) -> bool:
    wanted = plan.contract.reconcile
    return wanted is not None and (wanted.schedule is not None or wanted.every is not None)


def _asked(contract: str) -> str:
    return f"{contract} asked"


def _quiet(hours: tuple[str, ...]) -> str:
    if not hours:
        return ""
    from syncd.reconcile.schedule import is_quiet  # noqa: PLC0415

    return "quiet hours" if is_quiet(hours, datetime.now(UTC)) else ""
