"""Events of lanes, of every direction."""

from __future__ import annotations

from typing import Any

import structlog

from syncd.telemetry.metrics import (
    INDEX_FAILURES,
    INDEX_LOST,
    INDEX_TAKEN,
    RESTARTS,
    SNAPSHOT_DOCUMENTS,
    SNAPSHOT_FAILURES,
    SNAPSHOT_PIECES,
    show_state,
)

_log = structlog.stdlib.get_logger("syncd")


def lane_state(contract: str, state: str, *, log: bool = True, **details: Any) -> None:
    """A lane has changed its state."""
    show_state(contract, state)
    if log:
        _log.info("lane " + state.replace("_", " "), contract=contract, **details)


def lane_interrupted(contract: str, why: str, error: str, retry_s: float, *, log: bool = True) -> None:
    """A lane stopped at an error and will start again from its stored position. `log`: whether to log it."""
    RESTARTS.labels(contract, why).inc()
    if not log:
        return
    write = _log.error if why in ("fatal", "unknown", "bug") else _log.warning
    write("lane interrupted", contract=contract, why=why, error=error, retry_seconds=round(retry_s, 2))


def slots_moved(contract: str, nodes: int) -> None:
    """Slots of a cluster have other nodes than when the lane last began."""
    _log.warning("slots moved", contract=contract, nodes=nodes)


def lane_fenced(contract: str, error: str) -> None:
    """A lane that was writing has lost its lease."""
    RESTARTS.labels(contract, "fenced").inc()
    _log.warning("lease lost", contract=contract, error=error)


def lane_hangs(contract: str, lane: str, seconds: float) -> None:
    """A lane has shown no progress for long, so its lease is not renewed any more."""
    RESTARTS.labels(contract, "hangs").inc()
    _log.error(
        "lane hangs, its lease is given up; restart the daemon, and please report it", contract=contract,
        lane=lane, seconds=round(seconds) if seconds < float("inf") else None,
    )  # fmt: skip


def lane_bug(contract: str) -> None:
    """A lane met an unexpected error; the traceback goes to the log."""
    _log.exception("unexpected error in a lane; please report it", contract=contract)


def dead_letters_restored(contract: str, count: int) -> None:
    """The record of which document has which dead letter was gone from Redis: evicted, or removed by a person. It was
    built again."""
    _log.warning("dead letters were not known by document, read again", contract=contract, count=count)


def maps_lost(contract: str, projection: str, count: int) -> None:
    """Entries of the map from `_id` to key are gone: evicted, or removed by a person. The contract is copied again."""
    RESTARTS.labels(contract, "maps_lost").inc()
    _log.warning(
        "the map of keys has lost entries, copying again; keep `syncd:*` from eviction", contract=contract,
        projection=projection, missing=count,
    )  # fmt: skip


def position_lost(contract: str, error: str, action: str) -> None:
    """MongoDB can no longer resume from the stored position."""
    RESTARTS.labels(contract, "position_lost").inc()
    log = _log.warning if action == "resnapshot" else _log.error
    log("position lost", contract=contract, error=error, action=action)


def position_went_back(contract: str, seconds: float) -> None:
    """Redis holds an older position than it had confirmed: a failover or a restore has lost its last writes."""
    RESTARTS.labels(contract, "redis_went_back").inc()
    _log.warning(
        "Redis has lost its last writes, they are made again; until then readers see older states", contract=contract,
        seconds=round(seconds, 3),
    )  # fmt: skip


def history_hidden(collection: str) -> None:
    """syncd may not read what distinguishes one MongoDB, or one history of it, from another."""
    _log.warning(
        "a restored MongoDB may go unnoticed: no right to find there, see docs/how-to/rights.md",
        collection=collection,
    )


def shared_stream_ended(database: str | None, error: str, retry_s: float) -> None:
    """Quiet lanes of a database go on with streams of their own, for `retry_s`; infinite: permanently. Without a
    database: the stream over all of them, in whose place each database has one where it can never be had."""
    what = "no stream over the deployment" if database is None else "no shared stream, every lane has its own"
    retry_seconds = retry_s if retry_s < float("inf") else None
    _log.warning(what, database=database, error=error, retry_seconds=retry_seconds)


def shared_stream_bug(database: str | None) -> None:
    """A shared stream met an unexpected error; the traceback goes to the log."""
    _log.exception("unexpected error in a shared stream; please report it", database=database)


def layout_changed(contract: str, before: int, now: int) -> None:
    """A contract is split in another way: all positions are gone, and each partition copies its documents again."""
    RESTARTS.labels(contract, "layout").inc()
    _log.warning("layout changed", contract=contract, partitions_before=before, partitions=now)


def claim_handed_over(contract: str, claim: str, before: str) -> None:
    """A key template or an index passed from one contract to another; no key was removed."""
    _log.warning("handed over", contract=contract, claim=claim, contract_before=before)


def contract_left(contract: str) -> None:
    """A contract is no longer among the contract files. Its keys and records stay."""
    _log.warning(
        "contract left; its keys stay: `syncd orphans` lists them, `syncd remove` clears them",
        contract=contract,
    )


def oplog_window_short(contract: str, window_s: float, age_s: float) -> None:
    """The stored position is about to fall out of the oplog."""
    _log.error(
        "the stored position nears the end of the oplog; let the lane catch up, or make the oplog larger",
        contract=contract, position_age_seconds=round(age_s), oplog_window_seconds=round(window_s),
    )  # fmt: skip


def change_unknown(contract: str, op: str, count: int) -> None:
    """MongoDB sent a kind of change that this version does not know; `syncd_changes_total` counts it as `other`."""
    _log.warning("unknown change skipped", contract=contract, op=op, count=count)


def snapshot_started(contract: str, estimated: int, copied: int, reason: str) -> None:
    """A snapshot begins, or goes on after `copied` documents."""
    SNAPSHOT_DOCUMENTS.labels(contract, "estimated").set(estimated)
    SNAPSHOT_DOCUMENTS.labels(contract, "applied").set(copied)
    _log.info("snapshot started", contract=contract, estimated=estimated, copied=copied, reason=reason)


def snapshot_progress(contract: str, copied: int) -> None:
    """Documents that the snapshot has applied so far."""
    SNAPSHOT_DOCUMENTS.labels(contract, "applied").set(copied)


def snapshot_workers_ready() -> None:
    """Workers take pieces from now on."""
    _log.info("snapshot workers are ready")


def snapshot_piece(contract: str) -> None:
    """A worker has read a piece."""
    SNAPSHOT_PIECES.labels(contract).inc()


def snapshot_worker_failed(why: str, pause_s: float) -> None:
    """Workers did not read their pieces. After `pause_s` they are asked again."""
    SNAPSHOT_FAILURES.inc()
    _log.warning("snapshot worker failed; the lane reads by itself", why=why, again_in_seconds=pause_s)


def snapshot_finished(contract: str, copied: int, seconds: float, removed: int = 0) -> None:
    """All documents are copied and all orphaned keys are removed."""
    _log.info(
        "snapshot finished", contract=contract, copied=copied, removed=removed, seconds=round(seconds, 3)
    )


def partial_copy_started(contract: str, copied: int) -> None:
    """A copy of some documents, by a filter, begins, or goes on after `copied` documents."""
    _log.info("partial copy started", contract=contract, copied=copied)


def partial_copy_finished(contract: str, copied: int, left_out: int, seconds: float, error: str) -> None:
    """It is done, or MongoDB refused the filter. `left_out`: documents on which the filter fails."""
    said = {"contract": contract, "copied": copied, "left_out": left_out, "seconds": round(seconds, 3)}
    if error:
        _log.error("partial copy refused; ask for it again with another filter", error=error, **said)
    else:
        _log.info("partial copy finished", **said)


def index_failures(contract: str, index: str, left_out: int, error: str, before: int) -> None:
    """The number of keys that a search index leaves out now."""
    INDEX_FAILURES.labels(contract, index).set(left_out)
    if left_out > before:
        _log.warning(
            "index leaves documents out", contract=contract, index=index, failures=left_out, error=error
        )


def index_created(contract: str, alias: str, real: str) -> None:
    """A new generation of an index exists."""
    INDEX_FAILURES.labels(contract, alias).set(0)
    _log.info("index created", contract=contract, index=alias, real=real)


def index_shared(contract: str, index: str) -> None:
    """An index that a client made is what the contract says, and is used as it is."""
    _log.info("index was there already", contract=contract, index=index)


def index_swapped(contract: str, alias: str, real: str, before: str) -> None:
    """The alias moved to a new generation."""
    _log.info("index swapped", contract=contract, index=alias, real=real, before=before)


def index_retired(contract: str, alias: str, real: str) -> None:
    """An index that the contract no longer needs was dropped, without its keys."""
    _log.info("index dropped", contract=contract, index=alias, real=real)


def index_name(contract: str, index: str, problem: str, before: str) -> None:
    """Whether searches by the name of an index reach it. `problem`, `before`: why not, now and at the last check."""
    INDEX_TAKEN.labels(contract, index).set(bool(problem))
    if problem and problem != before:
        _log.error("index name is taken", contract=contract, index=index, problem=problem)
    if before and not problem:
        _log.info("index name is free again", contract=contract, index=index)


def index_lost(contract: str, index: str, real: str) -> None:
    """A client dropped an index, or made another in its place."""
    INDEX_LOST.labels(contract).inc()
    _log.warning("index was dropped by another client", contract=contract, index=index, real=real)


def index_made_again(contract: str, index: str, why: str) -> None:
    """An index with `generations: in_place` is built again, over the keys that are there."""
    _log.warning(
        "index is made again, searches find less until it is complete",
        contract=contract,
        index=index,
        why=why,
    )


def index_complete(contract: str, index: str, seconds: float) -> None:
    """An index that was made again has all keys."""
    _log.info("index is complete again", contract=contract, index=index, seconds=round(seconds, 3))


def index_keys_gone(contract: str, indexes: list[str]) -> None:
    """A client dropped an index with its keys, or most keys of an index are gone. All documents are copied."""
    RESTARTS.labels(contract, "keys_gone").inc()
    _log.warning(
        "index keys are gone, copying again",
        contract=contract,
        indexes=indexes,
    )
