"""Every metric, and the series of a contract."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

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
    "foreign_key", "control_key", "other_site", "odd_id", "filter_fails", "not_an_array", "equal_keys",
    "too_many_elements", "duplicate_member", "unexpected", "other",
)  # fmt: skip
DRIFT_KINDS = ("missing", "extra", "content", "ttl")
RESTART_REASONS = (
    "transient", "fatal", "unknown", "fenced", "hangs", "position_lost", "maps_lost", "layout", "keys_gone", "bug",
    "sweep_limit", "redis_went_back",
)  # fmt: skip
CHECK_RESULTS = ("clean", "drift", "repaired", "incomplete", "failed", "skipped")
WRITE_RESULTS = {
    "redis": ("put", "patch", "entry", "delete", "dead", "settled", "marked", "noted", "kept", "echo"),
    "mongo": ("put", "repeated", "delete", "gone", "dead"),
}
"""`noted`: a digest of a document, or that it has none now. `kept`: the key of an element that holds what it should.
`repeated`: a document that came again and was there already. `gone`: a key that was noted, is not there, and was not
deleted: it expired, or was evicted, before it was read."""
_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
disable_created_metrics()


class Registry(CollectorRegistry):
    """The one list of all metrics: a list of them elsewhere would miss the next one."""

    def __init__(self) -> None:
        super().__init__(auto_describe=True)
        self.metrics: list[MetricWrapperBase] = []
        """In the order in which they are defined."""

    def register(self, collector: Collector) -> None:
        """Add a metric."""
        super().register(collector)
        if isinstance(collector, MetricWrapperBase):
            self.metrics.append(collector)


REGISTRY = Registry()
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
REMOVAL_REASONS = ("change", "snapshot", "sweep", "retired", "replay", "repair")
KEYS_REMOVED = Counter(
    "syncd_keys_removed_total",
    "Keys that are gone from Redis, by why: a `change` of their document, a `sweep` or a `snapshot` that copied it, a "
    "template that the contract has no more (`retired`), a `replay` or a `repair`",
    ["contract", "reason"],
    registry=REGISTRY,
)
FEED_GAPS = Counter(
    "syncd_feed_gaps_total", "Times that changes are missing in a change feed, which has an entry `op gap` there",
    ["contract"], registry=REGISTRY,
)  # fmt: skip
FEED_SHIFTED = Counter(
    "syncd_feed_entries_shifted_total",
    "Entries of change feeds whose id does not come from the time of their change: their stream was ahead of it",
    ["contract"], registry=REGISTRY,
)  # fmt: skip
BOARD_FILLED = Counter(
    "syncd_board_members_filled_total",
    "Members that came back to keys which hold so many only, because others left",
    ["contract"], registry=REGISTRY,
)  # fmt: skip
MEMBERS_EXPIRED = Counter(
    "syncd_members_expired_total", "Members of shared keys that went because the deadline of their document passed",
    ["contract"], registry=REGISTRY,
)  # fmt: skip
FOREIGN_KEYS = Gauge(
    "syncd_foreign_keys",
    "Keys under the contract's templates that were there before it and have no document: they are left alone",
    ["contract"], registry=REGISTRY,
)  # fmt: skip
BATCH = Histogram(
    "syncd_batch_seconds", "Time from building a batch to its confirmation", ["contract"],
    buckets=_LATENCY_BUCKETS, registry=REGISTRY,
)  # fmt: skip
END_TO_END = Histogram(
    "syncd_end_to_end_seconds", "Oldest change of a batch: from its write in MongoDB to its confirmation by Redis",
    ["contract"], buckets=_LATENCY_BUCKETS, registry=REGISTRY,
)  # fmt: skip
DEAD_TOTAL = Counter(
    "syncd_dead_letters_total", "Changes that became dead letters", ["contract", "reason"], registry=REGISTRY
)
DEAD = Gauge(
    "syncd_dead_letters_waiting", "Dead letters waiting for a person", ["contract"], registry=REGISTRY
)
DEAD_DROPPED = Counter(
    "syncd_dead_letters_dropped_total",
    "Dead letters that were dropped for new ones, of a contract with `when_full: drop_oldest`",
    ["contract"],
    registry=REGISTRY,
)
MISFITS = Counter(
    "syncd_field_misfits_total",
    "Values that did not fit, by what became of them: `omitted` and `null` by `on_error` of the field, `split`: an "
    "element of an array that holds the separator of its tag index, `1970`: an integer under `type: date` that looks "
    "like seconds, and became January to April 1970",
    ["contract", "field", "became"],
    registry=REGISTRY,
)
SNAPSHOT_DOCUMENTS = Gauge(
    "syncd_snapshot_documents", "Documents of the snapshot: applied, and estimated in all", ["contract", "state"],
    registry=REGISTRY,
)  # fmt: skip
SNAPSHOT_PIECES = Counter(
    "syncd_snapshot_pieces_total", "Pieces of snapshots that workers read; what else is copied, the lane itself read",
    ["contract"], registry=REGISTRY,
)  # fmt: skip
SNAPSHOT_FAILURES = Counter(
    "syncd_snapshot_worker_failures_total",
    "Pieces of snapshots, or workers, that failed",
    registry=REGISTRY,
)
LANE_STATE = Gauge(
    "syncd_lane_state", "1 for the state a lane is in", ["contract", "state"], registry=REGISTRY
)
PARTITIONS = Gauge(
    "syncd_partitions", "Partitions that the contract is split into; 1 where it is not", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
PAUSED = Gauge("syncd_paused", "1 while a person has paused the contract", ["contract"], registry=REGISTRY)
LEASE = Gauge("syncd_lease_held", "1 while this daemon holds the lease", ["contract"], registry=REGISTRY)
POSITION_AGE = Gauge(
    "syncd_position_age_seconds", "Age of the stored position's cluster time", ["contract"], registry=REGISTRY
)
REFRESHES = Gauge(
    "syncd_refresh_pending", "Joined documents that have changed, while not all documents show that yet", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
OPLOG_WINDOW = Gauge(
    "syncd_oplog_window_seconds", "Time from the oldest to the newest entry of the oplog", registry=REGISTRY
)
FRESHNESS = Gauge(
    "syncd_slo_freshness_seconds", "The freshness that the contract promises", ["contract"], registry=REGISTRY
)
INDEX_FAILURES = Gauge(
    "syncd_index_failures",
    "Keys of documents that a search index leaves out now",
    ["contract", "index"],
    registry=REGISTRY,
)
INDEX_LOST = Counter(
    "syncd_index_lost_total", "Times that another client dropped or replaced a search index", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
INDEX_TAKEN = Gauge(
    "syncd_index_taken",
    "1 while the name of a search index is another client's, so that searches by it do not reach the documents",
    ["contract", "index"], registry=REGISTRY,
)  # fmt: skip
OUTBOX = Gauge(
    "syncd_outbox_entries", "Entries of a stream, or changed keys, that are not in MongoDB yet, at most", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
KEYS_UNFIT = Gauge(
    "syncd_keys_unfit",
    "Keys that match the pattern of a contract and do not fit its template: they do not reach MongoDB; up to 10,000",
    ["contract"], registry=REGISTRY,
)  # fmt: skip
TRIMMED = Counter(
    "syncd_outbox_trimmed_total", "Entries of a stream that were removed before they were in MongoDB", ["contract"],
    registry=REGISTRY,
)  # fmt: skip
LOOK_UP_REASONS = (
    "session_expired", "history_truncated", "redis_restarted", "redis_went_back", "group_lost",
)  # fmt: skip
LOOKED_UP = Counter(
    "syncd_append_uncertain_total",
    "Times that it was not known whether entries are in a time series, so that each is looked up before it is written",
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
    "syncd_marked_keys", "Keys of a two-way contract that MongoDB reported and that are not merged yet", ["contract"],
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
_VALUES: dict[MetricWrapperBase, tuple[str, ...]] = {
    CHANGES: CHANGE_OPS,
    DEAD_TOTAL: DEAD_REASONS,
    KEYS_REMOVED: REMOVAL_REASONS,
    SNAPSHOT_DOCUMENTS: ("applied", "estimated"),
    LANE_STATE: LANE_STATES,
    LOOKED_UP: LOOK_UP_REASONS,
    CONFLICTS: ("mongo", "redis", "undone"),
    CATCHUPS: ("start", "subscription", "overflow", "setting", "slots", "request"),
    RESTARTS: RESTART_REASONS,
    DRIFT: DRIFT_KINDS,
    RECONCILE_RUNS: CHECK_RESULTS,
}
"""Of a second label."""
_LATER = (FRESHNESS, INDEX_FAILURES, INDEX_TAKEN, MISFITS, REFRESHES)
"""Series that not every contract has: they begin with a promise, an index, a join, or a value that did not fit."""
_ONLY_OF: dict[MetricWrapperBase, tuple[str, ...]] = {
    **dict.fromkeys((KEYS_REMOVED, FOREIGN_KEYS), ("redis", "both")),
    **dict.fromkeys((FEED_GAPS, FEED_SHIFTED, BOARD_FILLED, MEMBERS_EXPIRED), ("redis",)),
    **dict.fromkeys(
        (CATCHUPS, LOOKED_UP, KEYS_UNFIT, OUTBOX, OUTBOX_BYTES, TRIMMED, WENT_BACK), ("mongo", "both")
    ),
    **dict.fromkeys((CONFLICTS, MARKED), ("both",)),
}
"""What only some contracts do, by where they write. Every other metric is of all contracts."""
_UNKNOWN_FIRST = (LAG, DEAD, POSITION_AGE, OUTBOX, OUTBOX_BYTES, MARKED)
"""Figures of a moment: NaN until they are first read, and where another daemon holds the lease."""


def labels_of(metric: MetricWrapperBase) -> tuple[str, ...]:
    """The names of its labels, for which the library has no public attribute."""
    return tuple(metric._labelnames)


def of_a_contract() -> list[MetricWrapperBase]:
    """The metrics that have series of each contract."""
    return [metric for metric in REGISTRY.metrics if "contract" in labels_of(metric)]


def contract_known(
    contract: str, freshness_s: float | None, partitions: int = 1, *, store: str = "redis"
) -> None:
    """Create every series of a contract, at 0 or, where 0 would be a statement, as NaN. `store` is the one that it
    writes to, or `both`."""
    for metric in of_a_contract():
        if metric in _LATER or store not in _ONLY_OF.get(metric, (store,)):
            continue
        for values in _values_of(metric, store):
            series = metric.labels(contract, *values)
            if metric in _UNKNOWN_FIRST and isinstance(series, Gauge):
                series.set(float("nan"))
    if freshness_s is not None:
        FRESHNESS.labels(contract).set(freshness_s)
    PARTITIONS.labels(contract).set(partitions)
    show_state(contract, "starting")


def _values_of(metric: MetricWrapperBase, store: str) -> list[tuple[str, ...]]:
    """The values of all labels but the contract."""
    if metric is WRITES:
        stores = tuple(WRITE_RESULTS) if store == "both" else (store,)
        return [(written, result) for written in stores for result in WRITE_RESULTS[written]]
    return [(value,) for value in _VALUES[metric]] if metric in _VALUES else [()]


def contract_gone(contract: str) -> None:
    """Take the series of a removed contract off the page."""
    for metric in of_a_contract():
        metric.remove_by_labels({"contract": contract})


def show_state(contract: str, state: str) -> None:
    """A lane is in this state and no other."""
    for name in LANE_STATES:
        LANE_STATE.labels(contract, name).set(name == state)
    LEASE.labels(contract).set(state in ("snapshot", "catching_up", "live"))
