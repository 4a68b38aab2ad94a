"""Events of lanes from Redis to MongoDB, and of lanes that merge both."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from syncd.telemetry.metrics import (
    CATCHUPS,
    CHANGES,
    CONFLICTS,
    KEYS_UNFIT,
    LOOKED_UP,
    RESTARTS,
    TRIMMED,
    WENT_BACK,
    WRITES,
)

_log = structlog.stdlib.get_logger("syncd")


def appended(contract: str, read: int, put: int, repeated: int, dead: int) -> None:
    """A batch of entries is done."""
    CHANGES.labels(contract, "insert").inc(read)
    for result, count in (("put", put), ("repeated", repeated), ("dead", dead)):
        WRITES.labels(contract, "mongo", result).inc(count)


def group_lost(contract: str, stream: str, start: str) -> None:
    """Another client destroyed the consumer group, or the stream with it."""
    RESTARTS.labels(contract, "position_lost").inc()
    _log.warning("consumer group was gone, made again", contract=contract, stream=stream, start=start)


def entries_trimmed(contract: str, stream: str, count: int) -> None:
    """Another client removed entries that were not in MongoDB yet: they are lost."""
    TRIMMED.labels(contract).inc(count)
    _log.error(
        "entries were removed before they were in MongoDB; let the stream keep more", contract=contract, stream=stream,
        count=count,
    )  # fmt: skip


def notifications_set(contract: str, before: str, now: str) -> None:
    """Redis did not publish events of changed keys; now it does, until its restart."""
    _log.warning(
        "notify-keyspace-events was set; put it into redis.conf as well",
        contract=contract,
        before=before,
        now=now,
    )


def keys_compared(contract: str, why: str, detail: str) -> None:
    """It is not known which keys have changed, so all are compared with what was last synced."""
    CATCHUPS.labels(contract, why).inc()
    log = _log.info if why in ("start", "request") else _log.warning
    log("comparing all keys", contract=contract, why=why, detail=detail)


def append_uncertain(contract: str, why: str, entries: int | None, up_to: str) -> None:
    """It is not known whether entries are in a time series: the record of it in MongoDB or Redis is gone."""
    LOOKED_UP.labels(contract, why).inc()
    # A restart of Redis is ordinary; a batch that waited for half an hour is not.
    write = _log.warning if why in ("redis_restarted", "group_lost") else _log.error
    write(
        "not known whether entries were written; each is looked up in MongoDB first", contract=contract, why=why,
        entries=entries, up_to=up_to,
    )  # fmt: skip


def state_written(contract: str, read: int, put: int, deleted: int, dead: int) -> None:
    """Keys that entries named are in MongoDB."""
    CHANGES.labels(contract, "update").inc(read)
    for result, count in (("put", put), ("delete", deleted), ("dead", dead)):
        WRITES.labels(contract, "mongo", result).inc(count)


def merged(contract: str, noted: int, counts: Mapping[tuple[str, str], int], dead: int) -> None:
    """Keys and documents were merged. `noted`: changes that Redis reported; `counts`: by store and result."""
    CHANGES.labels(contract, "update").inc(noted)
    for (store, result), count in counts.items():
        WRITES.labels(contract, store, result).inc(count)
    WRITES.labels(contract, "mongo", "dead").inc(dead)


def conflict(contract: str, why: str, winner: str, fields: list[str]) -> None:
    """Both sides changed since they last agreed. MongoDB holds a record with the key and both values."""
    CONFLICTS.labels(contract, "undone" if why == "authority" else winner).inc()
    _log.warning("conflict", contract=contract, why=why, winner=winner, fields=fields)


def keys_gone(contract: str, count: int) -> None:
    """Keys that the application noted were gone when they were read, and it did not note that they were deleted."""
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
    """Another client deleted the outbox. What it held is not known, so all keys are read."""
    TRIMMED.labels(contract).inc()
    _log.error("the outbox was deleted, all keys are read", contract=contract)


def copy_started(contract: str) -> None:
    """All keys of a contract go to MongoDB: a person asked for it, or entries were lost."""
    _log.info("snapshot started", contract=contract, reason="asked for")


def outbox_functions_missing(contract: str) -> None:
    """syncd may not load the functions for applications: they have to write in MULTI."""
    _log.warning(
        "no functions for applications, for FUNCTION LOAD is not allowed; use MULTI, see the outbox's page",
        contract=contract,
    )  # fmt: skip


def comparison_finished(contract: str, compared: int, seconds: float) -> None:
    """All keys hold what was last synced, or have been synced again."""
    _log.info("all keys compared", contract=contract, compared=compared, seconds=round(seconds, 3))


def keys_vanished(contract: str, deleted: int, expired: int, evicted: int) -> None:
    """Keys are gone without an event that says so. Some are taken for deleted, by what is known of them."""
    WRITES.labels(contract, "mongo", "gone").inc(expired + evicted)
    if deleted or evicted:
        _log.warning(
            "keys are gone: deleted while no daemon listened, or evicted", contract=contract, taken_for_deleted=deleted,
            evicted_or_unknown_and_kept=evicted,
        )  # fmt: skip


def digests_left_out(contract: str, count: int) -> None:
    """Keys are not where their slot has moved to, and a server may have lost them. They do not count as deleted."""
    if count:
        _log.warning(
            "keys are gone since their slot moved, perhaps lost; their documents stay",
            contract=contract,
            keys=count,
        )


def foreign_keys(contract: str, count: int) -> None:
    """Keys match the contract's pattern and not its template; they are left out."""
    CHANGES.labels(contract, "other").inc(count)


def keys_unfit(contract: str, count: int, why: str) -> None:
    """The number of keys that match the pattern and fit no template. `why` where these are the first."""
    KEYS_UNFIT.labels(contract).set(count)
    if why:
        _log.warning(
            "keys match the pattern and do not reach MongoDB; status shows one", contract=contract, why=why
        )


def nothing_to_copy(contract: str) -> None:
    """A person asked for a snapshot of a contract that appends."""
    _log.warning("no snapshot: this contract appends, and a stream is read once", contract=contract)
