"""Runs a lane for every contract, and exchanges lanes when contracts change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from prometheus_client import generate_latest

from syncd import telemetry
from syncd.both.lane import TwoWayLane
from syncd.contract.model.contract import Contract
from syncd.daemon.changes import Changes, changes
from syncd.daemon.checks import Checks
from syncd.daemon.contract_registration import ContractRegistration
from syncd.daemon.serving_reports import ServingReports
from syncd.daemon.trends import Points, Sparks, Trends
from syncd.errors import SettingsError
from syncd.executors.pool import pool_of
from syncd.lanes.context import Common
from syncd.lanes.lane import BaseLane
from syncd.plan.base import ContractPlan
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.claims import Templates, templates_of
from syncd.plan.kinds import compile_any
from syncd.plan.partition import Partition
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.plan.to_redis.compile import Plan
from syncd.reconcile.kinds import has_checks
from syncd.settings import Settings
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.records.lease import new_owner
from syncd.stores.redis.records.leases import Leases
from syncd.stores.redis.records.requests.lane_requests import RequestBoard
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.lane import AppendLane
from syncd.to_mongo.keyspace.lane import KeyspaceLane
from syncd.to_mongo.state.lane import StateLane
from syncd.to_redis.lane import Lane
from syncd.to_redis.stream.hub import StreamHub

STOP_TIMEOUT_S = 25.0
"""Below the 30 s that Kubernetes and systemd give by default, for a lane that has something to commit."""
STUCK_S = 4.0
"""A lane that has heard from no server for so long is stuck in a dead link, and cannot commit anything: it is
abandoned, and its position says how far it got."""
POLL_S = 0.05


@dataclass(slots=True)
class ContractsStatus:
    """The result of the last edit of the contract directory."""

    valid: bool = True
    problems: list[str] = field(default_factory=list)


class Runner(Protocol):
    """Runs the contracts of a daemon: a Supervisor in this process, or Workers."""

    def compile(self, contracts: Iterable[Contract]) -> list[ContractPlan]:
        """Compile a set without touching the lanes that run. Raises SettingsError where a setting is missing."""

    plans: Mapping[str, ContractPlan]
    """Those that run, by the name of the contract."""
    unknown: Mapping[str, str]
    """Contracts over several collections of which none is known yet, and contracts of which nothing may run, each with
    the reason: the daemon is not ready."""

    waiting: Mapping[str, str]
    """Contracts of which an edit waits for approval, with the plan that has to be approved."""

    def apply(self, plans: list[ContractPlan], *, is_whole: bool = True, is_edit: bool = True) -> None:
        """Make exactly these plans run. `is_whole`: whether a contract that is not among them has left. `is_edit`:
        whether files changed, not the collections of a contract over several."""

    def refuse(self, problems: list[str]) -> None:
        """Note that an edit was refused; the lanes go on."""

    def check(self, contract: str, repair: bool | None) -> str | None:
        """Compare a contract's two sides now: see Checks.ask."""

    def lines(self, contract: str) -> list[dict[str, Any]]:
        """The last lines of the log about a contract, oldest first."""

    def trend(self, contract: str, resolution: str) -> Points | None:
        """What a contract did over the last time: see Trends.points."""

    def sparks(self) -> Sparks:
        """The same of all contracts, in few points."""

    def stop(self) -> None:
        """Finish every batch under way and commit."""

    @property
    def alive(self) -> bool:
        """Whether a restart would fix nothing."""

    def as_dict(self) -> dict[str, Any]:
        """`ready`, `contracts` and `lanes`, for JSON."""

    def metrics(self) -> str:
        """The page of metrics."""


class Supervisor:
    """All lanes of one process. `apply` may be called again with another set."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mongo = MongoStore.of(settings)
        self._redis = RedisStore.of(settings)
        self._hub = StreamHub(self._mongo)
        self._requests = RequestBoard(self._redis)
        self._pool = pool_of(settings)
        self._leases = Leases(self._redis, new_owner(), settings.lease_ttl)
        self._common = Common(self._mongo, self._redis, self._leases, settings, self._requests)
        self.contracts = ContractsStatus()
        self.plans: Mapping[str, ContractPlan] = {}
        self.unknown: Mapping[str, str] = {}
        self.waiting: Mapping[str, str] = {}
        self._lanes: dict[str, BaseLane] = {}
        self._checks = Checks(self._mongo, self._redis, settings, self._lanes.get)
        self._registration = ContractRegistration(self._redis, settings.contracts)
        self._serving_reports = ServingReports(self._redis, lambda: self.lanes, settings.lease_ttl)
        self._serving_reports.start()
        self._trends = Trends(lambda: self.lanes)
        self._trends.start()
        self._lock = threading.Lock()
        self._applied = False

    @property
    def owner(self) -> str:
        """The name of this process in leases."""
        return self._leases.owner

    def compile(self, contracts: Iterable[Contract]) -> list[ContractPlan]:
        """Compile a set without touching the lanes that run. Raises SettingsError where a setting is missing."""
        return compile_set(contracts, self._settings)

    def apply(self, plans: list[ContractPlan], *, is_whole: bool = True, is_edit: bool = True) -> None:
        """Make exactly these plans run: stop what is gone, exchange what changed, start what is new."""
        reloaded = self._applied
        found = self.exchange(plans)
        self._registration.follow(plans, is_whole=is_whole)
        if is_edit:
            self.contracts = ContractsStatus()
            telemetry.contracts_applied(found.started, found.restarted, found.stopped, reloaded=reloaded)
        else:
            telemetry.collections_changed(found.started, found.stopped)

    def exchange(self, plans: list[ContractPlan]) -> Changes:
        """`apply` without log and metrics."""
        with self._lock:
            wanted = {plan.name: plan for plan in plans}
            found = changes({name: lane.plan for name, lane in self._lanes.items()}, plans)
            self._stop(found.stopped + found.restarted)
            for name in found.stopped:
                del self._lanes[name]
                self._requests.forget(name)
                telemetry.contract_gone(name)
            for name in found.restarted + found.started:
                lane = self._lane(wanted[name])
                lane.start()
                self._lanes[name] = lane
            for name, plan in wanted.items():
                self._lanes[name].reword(plan.contract)
            self._checks.follow(plan for plan in plans if has_checks(plan))
            self.plans = wanted
            self._applied = True
        return found

    def _lane(self, plan: ContractPlan) -> BaseLane:
        common = self._common
        if isinstance(plan, AppendPlan):
            return AppendLane(plan, common)
        if isinstance(plan, StatePlan):
            listens = plan.contract.sync.capture == "keyspace"
            return (KeyspaceLane if listens else StateLane)(plan, common)
        if isinstance(plan, TwoWayPlan):
            return TwoWayLane(plan, common, self._hub)
        assert isinstance(plan, Plan)
        partition = Partition(*self._settings.partition_numbers)
        return Lane(plan, common, self._hub, self._pool, partition)

    def refuse(self, problems: list[str]) -> None:
        """Note that an edit was refused; the lanes go on."""
        self.contracts = ContractsStatus(False, problems)
        telemetry.reload_refused(problems)

    def check(self, contract: str, repair: bool | None) -> str | None:
        """Compare a contract's two sides now: see Checks.ask."""
        return self._checks.ask(contract, repair)

    def lines(self, contract: str) -> list[dict[str, Any]]:
        """The last lines of the log about a contract, oldest first."""
        return telemetry.RECENT.of(contract)

    def trend(self, contract: str, resolution: str) -> Points | None:
        """What a contract did over the last time: see Trends.points."""
        return self._trends.points(contract, resolution, time.time())

    def sparks(self) -> Sparks:
        """The same of all contracts, in few points."""
        return self._trends.sparks(time.time())

    def _stop(self, names: list[str]) -> None:
        """Stop lanes, all at once; they stay listed, so that the daemon is not ready without them."""
        lanes = [self._lanes[name] for name in names]
        for lane in lanes:
            lane.stop()
        asked = time.monotonic()
        while (waited := time.monotonic() - asked) < STOP_TIMEOUT_S:
            alive = [lane for lane in lanes if lane.is_alive()]
            if not alive or (waited > STUCK_S and all(lane.pulse.silence > STUCK_S for lane in alive)):
                break
            alive[0].join(POLL_S)
        for lane in lanes:
            if lane.is_alive():
                lane.abandon()

    def stop(self) -> None:
        """Finish every batch under way and commit."""
        self._checks.stop()
        self._registration.stop()
        self._serving_reports.stop()
        self._trends.stop()
        with self._lock:
            for lane in self._lanes.values():
                lane.stop()
            self._mongo.give_up()
            self._stop(list(self._lanes))
        if self._pool is not None:
            self._pool.close()
        self._leases.close()
        self._mongo.close()
        self._redis.close()

    @property
    def lanes(self) -> list[BaseLane]:
        """The lanes that run, by name."""
        return [lane for _, lane in sorted(self._lanes.copy().items())]

    @property
    def alive(self) -> bool:
        """Whether every lane's thread runs, in any state, unless it was asked to stop."""
        return all(lane.is_alive() or lane.is_stopping for lane in self.lanes)

    def as_dict(self) -> dict[str, Any]:
        """For JSON. `ready`: whether every contract is served as it promises."""
        lanes = [lane.status.as_dict() for lane in self.lanes]
        return {
            "owner": self.owner,
            "ready": self._applied and not self.unknown and all(lane["ready"] for lane in lanes),
            "unknown": dict(self.unknown),
            "contracts": {
                "valid": self.contracts.valid,
                "problems": self.contracts.problems,
                "waiting": dict(self.waiting),
            },
            "lanes": lanes,
        }

    def metrics(self) -> str:
        """The page of metrics."""
        for lane in self.lanes:
            lane.status.measure()
        return generate_latest(telemetry.REGISTRY).decode()


def lane_name(lane: dict[str, Any]) -> str:
    """The name of a lane of `as_dict`, for people."""
    return str(lane["contract"] if lane["partition"] == "1/1" else f"{lane['contract']} {lane['partition']}")


def compile_set(
    contracts: Iterable[Contract], settings: Settings, templates: Templates | None = None
) -> list[ContractPlan]:
    """Compile contracts. `templates` are those of the whole set, where `contracts` are a part of it. Raises
    SettingsError, with the contract's name, where a setting is missing."""
    secret = settings.hmac_key.get_secret_value().encode() if settings.hmac_key else None
    plans: list[ContractPlan] = []
    for contract in contracts:
        try:
            plans.append(compile_any(contract, secret))
        except SettingsError as error:
            raise SettingsError(f"contract {contract.name}: {error}") from None
    every = templates_of(plans) if templates is None else templates
    return [replace(plan, templates=every) for plan in plans]
