"""Runs the contracts of one daemon in several processes, so that more than one core works on them."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from prometheus_client import generate_latest

from syncd import telemetry
from syncd.contract.model.contract import Contract
from syncd.daemon.changes import Changes
from syncd.daemon.contract_registration import ContractRegistration
from syncd.daemon.processes.pages import merged
from syncd.daemon.processes.process import APPLY_TIMEOUT_S, ASK_TIMEOUT_S, WorkerProcess
from syncd.daemon.processes.worker import WorkerReport
from syncd.daemon.supervisor import STOP_TIMEOUT_S, ContractsStatus, compile_set
from syncd.daemon.trends import Points, Sparks, together, worst_of
from syncd.plan.base import ContractPlan
from syncd.plan.claims import templates_of
from syncd.plan.partition import Partition
from syncd.settings import Settings
from syncd.stores.redis.records.lease import new_owner
from syncd.stores.redis.store import RedisStore
from syncd.to_redis.status import LaneStatus

Answer = TypeVar("Answer")


class Workers:
    """A Supervisor over processes. Each contract keeps its worker; or, where contracts are split, each worker has its
    partition of all contracts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = [WorkerProcess(at + 1, _part(settings, at + 1)) for at in range(settings.workers)]
        self._owner = new_owner()
        self._redis = RedisStore.of(settings)
        self._registration = ContractRegistration(self._redis, settings.contracts)
        self._places: dict[str, int] = {}
        self._shares: list[list[Contract]] = [[] for _ in self._workers]
        """The contracts of each worker; replaced as a whole, for pages are made meanwhile."""
        self._status = ContractsStatus()
        self.plans: Mapping[str, ContractPlan] = {}
        self.unknown: Mapping[str, str] = {}
        self.waiting: Mapping[str, str] = {}
        self._lock = threading.Lock()
        self._applied = False
        for worker in self._workers:
            worker.start()

    def compile(self, contracts: Iterable[Contract]) -> list[ContractPlan]:
        """Compile a set without touching the lanes that run. Raises SettingsError where a setting is missing."""
        return compile_set(contracts, self._settings)

    def apply(self, plans: list[ContractPlan], *, is_whole: bool = True, is_edit: bool = True) -> None:
        """Make exactly these plans run, and log the result when every worker has answered."""
        with self._lock:
            self._places = place([plan.name for plan in plans], self._places, len(self._workers))
            self._shares = [self._share(plans, at) for at in range(len(self._workers))]
            pairs = zip(self._workers, self._shares, strict=True)
            templates = templates_of(plans)
            waiting = [worker.begin_apply(share, templates) for worker, share in pairs]
            answers = [said for said in _gather(waiting, APPLY_TIMEOUT_S) if said is not None]
            reloaded, self._applied = self._applied, True
            self.plans = {plan.name: plan for plan in plans}
        self._registration.follow(plans, is_whole=is_whole)
        all_of = Changes(*(sorted({name for said in answers for name in said[kind]}) for kind in range(3)))
        if is_edit:
            self._status = ContractsStatus()
            telemetry.contracts_applied(all_of.started, all_of.restarted, all_of.stopped, reloaded=reloaded)
        else:
            telemetry.collections_changed(all_of.started, all_of.stopped)

    def _share(self, plans: list[ContractPlan], at: int) -> list[Contract]:
        everywhere = self._settings.split
        return [plan.contract for plan in plans if everywhere or self._places[plan.name] == at]

    def refuse(self, problems: list[str]) -> None:
        """Note that an edit was refused; the lanes go on."""
        self._status = ContractsStatus(False, problems)
        telemetry.reload_refused(problems)

    def check(self, contract: str, repair: bool | None) -> str | None:
        """Compare a contract's two sides now: see Checks.ask. Of a split one, every worker checks its part."""
        asked = self._those_of(contract)
        if not asked:
            return None
        answers = _gather([worker.begin_check(contract, repair) for worker in asked], ASK_TIMEOUT_S)
        said = [why if why is not None else "its worker does not answer" for why in answers]
        return max(said, key=len)

    def lines(self, contract: str) -> list[dict[str, Any]]:
        """The last lines of the log about a contract, of all processes, oldest first."""
        answers = _gather([worker.begin_lines(contract) for worker in self._workers], ASK_TIMEOUT_S)
        found = telemetry.RECENT.of(contract) + [line for lines in answers for line in lines or ()]
        return sorted(found, key=lambda line: str(line.get("timestamp", "")))

    def _those_of(self, contract: str) -> list[WorkerProcess]:
        pairs = zip(self._workers, self._shares, strict=True)
        return [worker for worker, share in pairs if any(one.name == contract for one in share)]

    def trend(self, contract: str, resolution: str) -> Points | None:
        """What a contract did over the last time: see Trends.points."""
        waiting = [worker.begin_trend(contract, resolution) for worker in self._those_of(contract)]
        found = [points for points in _gather(waiting, ASK_TIMEOUT_S) if points is not None]
        return together(found) if found else None

    def sparks(self) -> Sparks:
        """The same of all contracts, in few points."""
        found: dict[str, list[list[float | None]]] = defaultdict(list)
        for said in _gather([worker.begin_sparks() for worker in self._workers], ASK_TIMEOUT_S):
            for name, lags in (said or {}).items():
                found[name].append(lags)
        return {name: worst_of(some) for name, some in found.items()}

    def stop(self) -> None:
        """Finish every batch under way and commit; a worker that has not ended in time is killed."""
        self._registration.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S + 2.0  # a worker has the same time for its lanes
        for worker in self._workers:
            worker.begin_stop()
        for worker in self._workers:
            worker.end(deadline)
        self._redis.close()

    def _ask(self) -> list[WorkerReport | None]:
        return _gather([worker.begin_ask() for worker in self._workers], ASK_TIMEOUT_S)

    @property
    def alive(self) -> bool:
        """Whether every worker answers that its lanes' threads run, or is about to start."""
        asked = [bool(worker.owner) for worker in self._workers]
        return all(worker.is_watched for worker in self._workers) and all(
            report.alive if report is not None else not (was_up and worker.owner) and not worker.is_stuck
            for worker, was_up, report in zip(self._workers, asked, self._ask(), strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        lanes: list[dict[str, Any]] = []
        for worker, report, share in zip(self._workers, self._ask(), self._shares, strict=True):
            known = {lane["contract"]: lane for lane in report.lanes} if report is not None else {}
            silent = report is None and bool(worker.owner)
            lanes += [
                (known.get(contract.name) or _unknown(contract, worker, silent)) | {"worker": worker.number}
                for contract in share
            ]
        lanes.sort(key=lambda lane: (lane["contract"], lane["partition"]))
        return {
            "owner": self._owner,
            "ready": self._applied and not self.unknown and all(lane["ready"] for lane in lanes),
            "unknown": dict(self.unknown),
            "contracts": {
                "valid": self._status.valid,
                "problems": self._status.problems,
                "waiting": dict(self.waiting),
            },
            "workers": [{"worker": worker.number, "pid": worker.pid} for worker in self._workers],
            "lanes": lanes,
        }

    def metrics(self) -> str:
        """The page of metrics; the series of a worker that does not answer are missing."""
        pages = []
        for worker, report in zip(self._workers, self._ask(), strict=True):
            telemetry.worker_answers(worker.number, report is not None)
            if report is not None:
                labels = f'partition="{worker.settings.partition}"' if self._settings.split else ""
                pages.append((report.metrics, labels))
        return merged(generate_latest(telemetry.REGISTRY).decode(), pages)


def _part(settings: Settings, number: int) -> Settings:
    """The settings of a worker."""
    if not settings.split:
        return settings
    return settings.model_copy(update={"partition": f"{number}/{settings.workers}"})


def place(names: list[str], before: dict[str, int], count: int) -> dict[str, int]:
    """A worker for each name: the one that it has, or the one with the fewest contracts."""
    places = {name: before[name] for name in names if name in before}
    load = Counter(places.values())
    for name in sorted(names):
        if name not in places:
            places[name] = min(range(count), key=lambda at: (load[at], at))
            load[places[name]] += 1
    return places


def _unknown(contract: Contract, worker: WorkerProcess, silent: bool) -> dict[str, Any]:
    """A lane whose worker does not answer, or has yet to start it."""
    freshness_s = contract.slo.freshness / 1000 if contract.slo else None
    status = LaneStatus(
        contract.name, contract.shown_collection, freshness_s, Partition(*worker.settings.partition_numbers)
    )
    why = worker.died or f"worker {worker.number} {'does not answer' if silent else 'starts'}"
    return status.as_dict() | {
        "error": why,
        "complaint": why,
        "state": "waiting" if worker.died else "starting",
    }


def _gather(waiting: list[queue.SimpleQueue[Answer | None]], timeout: float) -> list[Answer | None]:
    """All answers, None for one that did not come in time."""
    deadline = time.monotonic() + timeout
    found: list[Answer | None] = []
    for answer in waiting:
        try:
            found.append(answer.get(timeout=max(0.0, deadline - time.monotonic())))
        except queue.Empty:
            found.append(None)
    return found
