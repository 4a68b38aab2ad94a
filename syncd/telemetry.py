"""What is seen from outside: one function an event, which writes the log line and moves the metric.

WARNING means that syncd has recovered or will; ERROR means that a person must act. No value of a document and no
secret reaches a log.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from syncd import __version__

LANE_STATES = (
    "starting",
    "standby",
    "snapshot",
    "catching_up",
    "live",
    "waiting",
    "paused",
    "failed",
    "stopped",
)
CHANGE_OPS = ("insert", "update", "replace", "delete", "other")
DEAD_REASONS = (
    "vector_length", "vector_element", "cannot_convert", "key_field_missing", "key_field_type", "ttl_not_a_date",
    "expression", "json_too_deep", "not_unicode", "number_too_large", "unsupported_type", "wrong_type",
    "redis_refused", "document_too_large", "document_refused", "duplicate_key", "other_content", "entry_trimmed",
    "foreign_key", "other",
)  # fmt: skip
DRIFT_KINDS = ("missing", "extra", "content", "ttl")
CHECK_RESULTS = ("clean", "drift", "repaired", "incomplete", "failed", "skipped")
_WRITE_RESULTS = {
    "redis": ("put", "patch", "delete", "dead", "settled", "marked", "echo"),
    "mongo": ("put", "repeated", "delete", "gone", "dead"),
}
"""`repeated`: a document that came again and was there already. `gone`: a key that was noted, is not there, and was not
deleted: it expired, or was evicted, before it was read."""
_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

disable_created_metrics()
REGISTRY = CollectorRegistry(auto_describe=True)

LAG = Gauge(
    "syncd_lag_seconds",
    "Age of the newest state that Redis is known to show; of a stream, age of its oldest entry not acknowledged",
    ["contract"],
    registry=REGISTRY,
)
CHANGES = Counter(
    "syncd_changes_total", "Changes read from the source", ["contract", "op"], registry=REGISTRY
)
WRITES = Counter(
    "syncd_writes_total",
    "Keys or documents written, by what was done",
    ["contract", "store", "result"],
    registry=REGISTRY,
)
BATCH = Histogram(
    "syncd_batch_seconds", "Time from building a batch to its confirmation", ["contract"],
    buckets=_LATENCY_BUCKETS, registry=REGISTRY,
)  # fmt: skip
END_TO_END = Histogram(
    "syncd_end_to_end_seconds", "Oldest change of a batch: from its write in MongoDB to its confirmation by Redis",
    ["contract"], buckets=_LATENCY_BUCKETS, registry=REGISTRY,
)  # fmt: skip
DEAD_TOTAL = Counter("syncd_dead_letters_total", "Changes parked", ["contract", "reason"], registry=REGISTRY)
DEAD = Gauge(
    "syncd_dead_letters_waiting", "Dead letters waiting for a person", ["contract"], registry=REGISTRY
)
SNAPSHOT_DOCUMENTS = Gauge(
    "syncd_snapshot_documents", "Documents of the snapshot: applied, and estimated in all", ["contract", "state"],
    registry=REGISTRY,
)  # fmt: skip
LANE_STATE = Gauge(
    "syncd_lane_state", "1 for the state a lane is in", ["contract", "state"], registry=REGISTRY
)
PARTITIONS = Gauge(
    "syncd_partitions", "Partitions that the contract is split into; 1 where it is not", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
LEASE = Gauge("syncd_lease_held", "1 while this daemon holds the lease", ["contract"], registry=REGISTRY)
POSITION_AGE = Gauge(
    "syncd_position_age_seconds", "Age of the stored position's cluster time", ["contract"], registry=REGISTRY
)
OPLOG_WINDOW = Gauge(
    "syncd_oplog_window_seconds", "Time from the oldest to the newest entry of the oplog", registry=REGISTRY
)
FRESHNESS = Gauge(
    "syncd_slo_freshness_seconds", "The freshness that the contract promises", ["contract"], registry=REGISTRY
)
INDEX_FAILURES = Gauge(
    "syncd_index_failures",
    "Documents that a search index leaves out",
    ["contract", "index"],
    registry=REGISTRY,
)
OUTBOX = Gauge(
    "syncd_outbox_entries", "Entries of a stream, or changed keys, that are not in MongoDB yet, at most", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
TRIMMED = Counter(
    "syncd_outbox_trimmed_total", "Entries of a stream that somebody removed before they were in MongoDB", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
LOOK_UP_REASONS = ("session_expired", "history_truncated", "redis_restarted", "group_lost")
LOOKED_UP = Counter(
    "syncd_append_uncertain_total",
    "Times that nobody knew whether entries are in a time series, so that each is looked up before it is written",
    ["contract", "why"], registry=REGISTRY,
)  # fmt: skip
OUTBOX_BYTES = Gauge(
    "syncd_outbox_bytes", "Memory that the outbox takes in Redis, about", ["contract"], registry=REGISTRY
)
WENT_BACK = Counter(
    "syncd_redis_went_back_total", "Documents that were ahead of Redis, and took its state all the same", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
MARKED = Gauge(
    "syncd_marked_keys", "Keys of a two-way contract that MongoDB told of and that are not merged yet", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
CONFLICTS = Counter(
    "syncd_conflicts_total",
    "Conflicts of a two-way contract, by the side that won; `undone`: a change on a side without authority",
    ["contract", "resolution"], registry=REGISTRY,
)  # fmt: skip
CATCHUPS = Counter(
    "syncd_keyspace_catchups_total", "Comparisons of all keys with what was last synced, by why",
    ["contract", "why"], registry=REGISTRY,
)  # fmt: skip
RESTARTS = Counter(
    "syncd_lane_restarts_total", "Lanes started again, by why", ["contract", "why"], registry=REGISTRY
)
DRIFT = Counter(
    "syncd_drift_total", "Keys that a check found to differ from their document", ["contract", "kind"],
    registry=REGISTRY,
)  # fmt: skip
DRIFT_LEFT = Gauge(
    "syncd_reconcile_drift", "Keys that differed when the last whole check ended, and were not repaired", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
REPAIRS = Counter(
    "syncd_reconcile_repairs_total", "Documents and keys that the lane repaired", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
RECONCILE_RUNS = Counter(
    "syncd_reconcile_runs_total", "Checks, by how they ended", ["contract", "result"], registry=REGISTRY
)
RECONCILE_DOCUMENTS = Counter(
    "syncd_reconcile_documents_total", "Documents compared with their keys", ["contract"], registry=REGISTRY
)
RECONCILE_SECONDS = Gauge(
    "syncd_reconcile_seconds", "How long the last check took", ["contract"], registry=REGISTRY
)
RECONCILE_LAST = Gauge(
    "syncd_reconcile_last_timestamp_seconds", "When the last whole check ended, in seconds since 1970", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
RECONCILE_RUNNING = Gauge("syncd_reconcile_running", "1 while a check runs", ["contract"], registry=REGISTRY)
WORKER_RESTARTS = Counter(
    "syncd_worker_restarts_total", "Worker processes that died and were started again", registry=REGISTRY
)
WORKER_UP = Gauge("syncd_worker_up", "1 while a worker process answers", ["worker"], registry=REGISTRY)
RELOADS = Counter(
    "syncd_contract_reload_total", "Edits of the contract directory", ["result"], registry=REGISTRY
)
CONTRACTS_VALID = Gauge(
    "syncd_contracts_valid", "0 while the directory holds a set that was refused", registry=REGISTRY
)
BUILD = Gauge("syncd_build_info", "Always 1", ["version"], registry=REGISTRY)

BUILD.labels(__version__).set(1)
for _result in ("applied", "refused"):
    RELOADS.labels(_result)

_OF_A_REPORT = (
    "check", "result", "documents", "drift", "repaired", "left", "dead_letters", "unsettled", "seconds", "ended",
)  # fmt: skip
_OF_CHECKS: tuple[Gauge | Counter, ...] = (
    DRIFT_LEFT,
    REPAIRS,
    RECONCILE_DOCUMENTS,
    RECONCILE_SECONDS,
    RECONCILE_LAST,
    RECONCILE_RUNNING,
)
_log = structlog.stdlib.get_logger("syncd")


def configure_logging(level: str, form: str) -> None:
    """Log to stderr: JSON lines, or text for people (`auto`: on a terminal)."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper(), logging.INFO)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


_NONE: tuple[tuple[str, ...], ...] = ((),)


def _each(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


_OF_ALL: dict[Any, tuple[tuple[str, ...], ...]] = {
    CHANGES: _each(*CHANGE_OPS),
    DEAD_TOTAL: _each(*DEAD_REASONS),
    SNAPSHOT_DOCUMENTS: _each("applied", "estimated"),
    RESTARTS: _each("transient", "fatal", "fenced", "position_lost", "layout", "bug"),
    **dict.fromkeys((LAG, BATCH, END_TO_END, DEAD, LEASE, POSITION_AGE), _NONE),
}
_OF_TARGET: dict[str, dict[Any, tuple[tuple[str, ...], ...]]] = {
    "redis": {
        DRIFT: _each(*DRIFT_KINDS),
        RECONCILE_RUNS: _each(*CHECK_RESULTS),
        **dict.fromkeys(_OF_CHECKS, _NONE),
    },
    "mongo": {
        CATCHUPS: _each("start", "subscription", "overflow", "setting", "request"),
        LOOKED_UP: _each(*LOOK_UP_REASONS),
        **dict.fromkeys((OUTBOX, OUTBOX_BYTES, TRIMMED, WENT_BACK), _NONE),
    },
}
_OF_TARGET["both"] = _OF_TARGET["mongo"] | {CONFLICTS: _each("mongo", "redis", "undone"), MARKED: _NONE}
"""The values of every metric's second label, of those that every contract has and of those of one direction."""


def contract_known(
    contract: str, freshness_s: float | None, partitions: int = 1, *, store: str = "redis"
) -> None:
    """Every series of a contract exists from the start, at 0. `store` is the one that it writes to, or `both`."""
    for written, results in _WRITE_RESULTS.items():
        for result in results if store in (written, "both") else ():
            WRITES.labels(contract, written, result)
    for metric, values in (_OF_ALL | _OF_TARGET[store]).items():
        for value in values:
            metric.labels(contract, *value)
    if freshness_s is not None:
        FRESHNESS.labels(contract).set(freshness_s)
    PARTITIONS.labels(contract).set(partitions)
    lane_state(contract, "starting", log=False)


def contract_gone(contract: str) -> None:
    """Take the series of a removed contract off the page."""
    for metric in (LAG, BATCH, END_TO_END, DEAD, LEASE, POSITION_AGE, FRESHNESS, CHANGES, WRITES, DEAD_TOTAL,
                   SNAPSHOT_DOCUMENTS, LANE_STATE, INDEX_FAILURES, RESTARTS, PARTITIONS, OUTBOX, OUTBOX_BYTES,
                   TRIMMED, WENT_BACK, CATCHUPS, LOOKED_UP, DRIFT, RECONCILE_RUNS, MARKED, CONFLICTS,
                   *_OF_CHECKS):  # fmt: skip
        metric.remove_by_labels({"contract": contract})


def lane_state(contract: str, state: str, *, log: bool = True, **details: Any) -> None:
    """A lane has come into another state."""
    for name in LANE_STATES:
        LANE_STATE.labels(contract, name).set(name == state)
    LEASE.labels(contract).set(state in ("snapshot", "catching_up", "live"))
    if log:
        _log.info("lane " + state.replace("_", " "), contract=contract, **details)


def lane_interrupted(contract: str, why: str, error: str, retry_s: float) -> None:
    """A lane stopped at an error and will start again from its stored position."""
    RESTARTS.labels(contract, why).inc()
    log = _log.error if why in ("fatal", "bug") else _log.warning
    log("lane interrupted", contract=contract, why=why, error=error, retry_seconds=round(retry_s, 2))


def lane_fenced(contract: str, error: str) -> None:
    """A lane that was writing has lost its lease."""
    RESTARTS.labels(contract, "fenced").inc()
    _log.warning("lease lost", contract=contract, error=error)


def lane_bug(contract: str) -> None:
    """A lane met an error that nobody expected; the traceback goes to the log."""
    _log.exception("unexpected error in a lane; please report it", contract=contract)


def position_lost(contract: str, error: str, action: str) -> None:
    """MongoDB can no longer resume from the stored position."""
    RESTARTS.labels(contract, "position_lost").inc()
    log = _log.warning if action == "resnapshot" else _log.error
    log("position lost", contract=contract, error=error, action=action)


def shared_stream_ended(database: str, error: str, retry_s: float) -> None:
    """Quiet lanes of a database go on with streams of their own, for a while or (infinite) for good."""
    _log.warning(
        "no shared stream, every lane has its own", database=database, error=error,
        retry_seconds=retry_s if retry_s < float("inf") else None,
    )  # fmt: skip


def shared_stream_bug(database: str) -> None:
    """A shared stream met an error that nobody expected; the traceback goes to the log."""
    _log.exception("unexpected error in a shared stream; please report it", database=database)


def layout_changed(contract: str, before: int, now: int) -> None:
    """A contract is split in another way: all positions are gone, and each partition copies its documents anew."""
    RESTARTS.labels(contract, "layout").inc()
    _log.warning("layout changed", contract=contract, partitions_before=before, partitions=now)


def oplog_window_short(contract: str, window_s: float, age_s: float) -> None:
    """The stored position is about to fall out of the oplog."""
    _log.error(
        "the stored position nears the end of the oplog; let the lane catch up, or make the oplog larger",
        contract=contract, position_age_seconds=round(age_s), oplog_window_seconds=round(window_s),
    )  # fmt: skip


def change_unknown(contract: str, op: str, count: int) -> None:
    """MongoDB told of a kind of change that this version does not know; `syncd_changes_total` counts it as `other`."""
    _log.warning("unknown change skipped", contract=contract, op=op, count=count)


def dead_letters_wait(contract: str, count: int) -> None:
    """A run found dead letters: also those that a daemon stored which did not live to tell."""
    _log.warning(
        "dead letters wait", contract=contract, count=count, see=f"syncd deadletters list {contract}"
    )


def appended(contract: str, read: int, put: int, repeated: int, dead: int) -> None:
    """A batch of entries is done."""
    CHANGES.labels(contract, "insert").inc(read)
    for result, count in (("put", put), ("repeated", repeated), ("dead", dead)):
        WRITES.labels(contract, "mongo", result).inc(count)


def group_lost(contract: str, stream: str, start: str) -> None:
    """Somebody destroyed the consumer group, or the stream with it."""
    RESTARTS.labels(contract, "position_lost").inc()
    _log.warning("consumer group was gone, made again", contract=contract, stream=stream, start=start)


def entries_trimmed(contract: str, stream: str, count: int) -> None:
    """Somebody removed entries that were not in MongoDB yet: they are lost."""
    TRIMMED.labels(contract).inc(count)
    _log.error(
        "entries were removed before they were in MongoDB; let the stream keep more", contract=contract, stream=stream,
        count=count,
    )  # fmt: skip


def notifications_set(contract: str, before: str, now: str) -> None:
    """Redis did not tell of changed keys; now it does, until its restart."""
    _log.warning(
        "notify-keyspace-events was set; put it into redis.conf as well",
        contract=contract,
        before=before,
        now=now,
    )


def keys_compared(contract: str, why: str, detail: str) -> None:
    """Nobody can tell which keys have changed, so all are compared with what was last synced."""
    CATCHUPS.labels(contract, why).inc()
    log = _log.info if why in ("start", "request") else _log.warning
    log("comparing all keys", contract=contract, why=why, detail=detail)


def append_uncertain(contract: str, why: str, entries: int | None, up_to: str) -> None:
    """Nobody knows whether entries are in a time series: MongoDB's or Redis's memory of it is gone."""
    LOOKED_UP.labels(contract, why).inc()
    # A Redis is restarted every now and then; a batch that waited for half an hour is nobody's plan.
    tell = _log.warning if why in ("redis_restarted", "group_lost") else _log.error
    tell(
        "not known whether entries were written; each is looked up in MongoDB first", contract=contract, why=why,
        entries=entries, up_to=up_to,
    )  # fmt: skip


def state_written(contract: str, read: int, put: int, deleted: int, dead: int) -> None:
    """Keys that entries named are in MongoDB."""
    CHANGES.labels(contract, "update").inc(read)
    for result, count in (("put", put), ("delete", deleted), ("dead", dead)):
        WRITES.labels(contract, "mongo", result).inc(count)


def merged(contract: str, noted: int, counts: Mapping[tuple[str, str], int], dead: int) -> None:
    """Keys and documents were brought together. `noted`: changes that Redis told of; `counts`: by store and result."""
    CHANGES.labels(contract, "update").inc(noted)
    for (store, result), count in counts.items():
        WRITES.labels(contract, store, result).inc(count)
    WRITES.labels(contract, "mongo", "dead").inc(dead)


def conflict(contract: str, why: str, winner: str, fields: list[str]) -> None:
    """Both sides changed since they last agreed. Where, and what they said, is in MongoDB's record of it."""
    CONFLICTS.labels(contract, "undone" if why == "authority" else winner).inc()
    _log.warning("conflict", contract=contract, why=why, winner=winner, fields=fields)


def keys_gone(contract: str, count: int) -> None:
    """Keys that somebody noted were not there when they were read, and nobody said that they were deleted."""
    WRITES.labels(contract, "mongo", "gone").inc(count)
    _log.warning(
        "keys were gone before they were read: expired or evicted; their documents stay as they were",
        contract=contract, count=count,
    )  # fmt: skip


def redis_went_back(contract: str, count: int) -> None:
    """Documents show a later state than Redis can have: it was restored, failed over, or its clock went back."""
    WENT_BACK.labels(contract).inc(count)
    _log.warning("documents were ahead of Redis, and take its state", contract=contract, count=count)


def outbox_replaced(contract: str) -> None:
    """Somebody deleted the outbox. What it held is not known; all keys are looked at instead."""
    TRIMMED.labels(contract).inc()
    _log.error("the outbox was deleted, all keys are looked at", contract=contract)


def copy_started(contract: str) -> None:
    """All keys of a contract go to MongoDB: somebody asked for it, or entries were lost."""
    _log.info("snapshot started", contract=contract, reason="asked for")


def outbox_functions_missing(contract: str) -> None:
    """Redis does not let us load the functions for applications: they write in MULTI."""
    _log.warning(
        "no functions for applications, for FUNCTION LOAD is not allowed; use MULTI, see the outbox's page",
        contract=contract,
    )  # fmt: skip


def comparison_finished(contract: str, compared: int, seconds: float) -> None:
    """All keys are as they were last synced, or have been synced again."""
    _log.info("all keys compared", contract=contract, compared=compared, seconds=round(seconds, 3))


def keys_vanished(contract: str, deleted: int, expired: int, evicted: int) -> None:
    """Keys that are not there, and nobody said that they were deleted; what is known of some says that they were."""
    WRITES.labels(contract, "mongo", "gone").inc(expired + evicted)
    if deleted or evicted:
        _log.warning(
            "keys are gone: deleted while nobody listened, or evicted", contract=contract, taken_for_deleted=deleted,
            evicted_or_unknown_and_kept=evicted,
        )  # fmt: skip


def foreign_keys(contract: str, count: int, *, first: bool) -> None:
    """Keys that match the contract's pattern and not its template; they are left out."""
    CHANGES.labels(contract, "other").inc(count)
    if first:
        _log.warning("keys of another template are left out, `other` counts them", contract=contract)


def nothing_to_copy(contract: str) -> None:
    """Somebody asked for a snapshot of a contract that goes from Redis to MongoDB."""
    _log.warning("no snapshot: this contract appends, and a stream is read once", contract=contract)


def worker_died(worker: int, exit_code: int | None, retry_s: float) -> None:
    """A worker process ended without being asked to. Negative exit codes are signals."""
    WORKER_RESTARTS.inc()
    _log.error("worker died", worker=worker, exit_code=exit_code, retry_seconds=round(retry_s, 2))


def worker_answers(worker: int, up: bool) -> None:
    """Whether it did when the page was asked for. One that does not has no series of its contracts on the page."""
    WORKER_UP.labels(str(worker)).set(up)


def replayed(contract: str, count: int) -> None:
    """Dead letters were tried again."""
    _log.info("dead letters replayed", contract=contract, count=count)


def repairs_applied(contract: str, count: int) -> None:
    """A lane wrote anew, or removed, what a check asked for."""
    REPAIRS.labels(contract).inc(count)
    _log.info("repaired", contract=contract, count=count)


def check_started(contract: str, check: str, repair: bool, reason: str) -> None:
    """A comparison of both sides begins. `reason`: `schedule`, `missed` or `asked`."""
    RECONCILE_RUNNING.labels(contract).set(1)
    _log.info("check started", contract=contract, check=check, repair=repair, reason=reason)


def check_progress(contract: str, documents: int) -> None:
    """Further documents were compared."""
    RECONCILE_DOCUMENTS.labels(contract).inc(documents)


def check_finished(contract: str, report: Mapping[str, Any]) -> None:
    """`report` as `Report.as_dict` gives it."""
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
    """What Redis says of the last check, by whichever daemon."""
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
    """A check met an error that nobody expected; the traceback goes to the log."""
    RECONCILE_RUNNING.labels(contract).set(0)
    RECONCILE_RUNS.labels(contract, "failed").inc()
    _log.exception("unexpected error in a check; please report it", contract=contract)


def snapshot_started(contract: str, estimated: int, copied: int, reason: str) -> None:
    """A snapshot begins, or goes on after `copied` documents."""
    SNAPSHOT_DOCUMENTS.labels(contract, "estimated").set(estimated)
    SNAPSHOT_DOCUMENTS.labels(contract, "applied").set(copied)
    _log.info("snapshot started", contract=contract, estimated=estimated, copied=copied, reason=reason)


def snapshot_progress(contract: str, copied: int) -> None:
    """Documents that the snapshot has applied so far."""
    SNAPSHOT_DOCUMENTS.labels(contract, "applied").set(copied)


def snapshot_finished(contract: str, copied: int, seconds: float) -> None:
    """All documents are in and all ghosts are out."""
    _log.info("snapshot finished", contract=contract, copied=copied, seconds=round(seconds, 3))


def dead_letter(contract: str, reason: str, projection: str, key: str, detail: str) -> None:
    """A change was parked. Keys carry ids, so the key itself stays in the dead letter and out of the log."""
    DEAD_TOTAL.labels(contract, reason if reason in DEAD_REASONS else "other").inc()
    _log.warning(
        "dead letter", contract=contract, reason=reason, projection=projection, detail=detail,
        see=f"syncd deadletters list {contract}",
    )  # fmt: skip


def index_failures(contract: str, index: str, failures: int, error: str, before: int) -> None:
    """A search index leaves documents out."""
    INDEX_FAILURES.labels(contract, index).set(failures)
    if failures > before:
        _log.warning(
            "index leaves documents out", contract=contract, index=index, failures=failures, error=error
        )


def index_created(contract: str, alias: str, real: str) -> None:
    """A new generation of an index exists."""
    INDEX_FAILURES.labels(contract, alias).set(0)
    _log.info("index created", contract=contract, index=alias, real=real)


def index_swapped(contract: str, alias: str, real: str, dropped: str) -> None:
    """The alias moved to a new generation."""
    _log.info("index swapped", contract=contract, index=alias, real=real, dropped=dropped)


def contracts_applied(
    started: list[str], restarted: list[str], stopped: list[str], *, reloaded: bool
) -> None:
    """A set of contracts is in force: the first, or an edit of it."""
    CONTRACTS_VALID.set(1)
    if reloaded:
        RELOADS.labels("applied").inc()
        _log.info("contracts reloaded", started=started, restarted=restarted, stopped=stopped)


def reload_failed() -> None:
    """An edit met an error that nobody expected; the traceback goes to the log."""
    RELOADS.labels("refused").inc()
    _log.exception("unexpected error in a reload, the old set runs on; please report it")


def reload_refused(problems: list[str]) -> None:
    """An edit does not pass; the old set runs on."""
    RELOADS.labels("refused").inc()
    CONTRACTS_VALID.set(0)
    _log.error("contracts refused, the old set runs on", problems=problems)


def daemon_started(**details: Any) -> None:
    """The daemon is up."""
    CONTRACTS_VALID.set(1)
    _log.info("syncd started", version=__version__, **details)


def daemon_stopping(signal: str) -> None:
    """The daemon was asked to stop."""
    _log.info("stopping: finishing the batches under way", signal=signal)


def daemon_stopped() -> None:
    """Everything is committed."""
    _log.info("stopped")
