"""Events of comparisons of both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from syncd.telemetry.metrics import (
    DRIFT,
    DRIFT_LEFT,
    RECONCILE_DOCUMENTS,
    RECONCILE_LAST,
    RECONCILE_RUNNING,
    RECONCILE_RUNS,
    RECONCILE_SECONDS,
    REPAIRS,
)

_log = structlog.stdlib.get_logger("syncd")


_OF_A_REPORT = (
    "check", "result", "documents", "drift", "repaired", "left", "dead_letters", "unsettled", "seconds", "ended",
)  # fmt: skip


def repairs_applied(contract: str, count: int) -> None:
    """A lane wrote again, or removed, what a check asked for."""
    REPAIRS.labels(contract).inc(count)
    _log.info("repaired", contract=contract, count=count)


def repairs_held_back(contract: str, why: str) -> None:
    """A lane writes what a check asked for, and removes nothing."""
    _log.warning("no key is removed by a repair", contract=contract, why=why)


def check_started(contract: str, check: str, repair: bool, reason: str) -> None:
    """A comparison of both sides begins. `reason`: `schedule`, `missed` or `asked`."""
    RECONCILE_RUNNING.labels(contract).set(1)
    _log.info("check started", contract=contract, check=check, repair=repair, reason=reason)


def check_progress(contract: str, documents: int) -> None:
    """Further documents were compared."""
    RECONCILE_DOCUMENTS.labels(contract).inc(documents)


def check_finished(contract: str, report: Mapping[str, Any]) -> None:
    """`report` as `ReconcileReport.as_dict` gives it."""
    RECONCILE_RUNNING.labels(contract).set(0)
    RECONCILE_RUNS.labels(contract, report["result"]).inc()
    RECONCILE_SECONDS.labels(contract).set(report["seconds"])
    for kind, count in report["drift"].items():
        DRIFT.labels(contract, kind).inc(count)
    if report["result"] != "incomplete":
        RECONCILE_LAST.labels(contract).set(report["finished"])
        DRIFT_LEFT.labels(contract).set(report["left"])
    levels = {"drift": _log.error, "incomplete": _log.warning, "repaired": _log.warning}
    said = {name: report[name] for name in _OF_A_REPORT}
    log = levels.get(report["result"], _log.info)
    log("check finished", contract=contract, see=f"syncd reconcile {contract} --history", **said)


def check_known(contract: str, report: Mapping[str, Any]) -> None:
    """The last check, of any daemon, as Redis holds it."""
    if report["result"] != "incomplete":
        RECONCILE_LAST.labels(contract).set(report["finished"])
        DRIFT_LEFT.labels(contract).set(report["left"])


def check_skipped(contract: str, why: str) -> None:
    """A check was due, and did not begin."""
    RECONCILE_RUNS.labels(contract, "skipped").inc()
    _log.info("check skipped", contract=contract, why=why)


def check_failed(contract: str, error: str) -> None:
    """A check met an error of a server; the next one is due as planned."""
    RECONCILE_RUNNING.labels(contract).set(0)
    RECONCILE_RUNS.labels(contract, "failed").inc()
    _log.warning("check failed", contract=contract, error=error)


def check_bug(contract: str) -> None:
    """A check met an unexpected error; the traceback goes to the log."""
    RECONCILE_RUNNING.labels(contract).set(0)
    RECONCILE_RUNS.labels(contract, "failed").inc()
    _log.exception("unexpected error in a check; please report it", contract=contract)
