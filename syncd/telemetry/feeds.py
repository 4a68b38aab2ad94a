"""Events of change feeds."""

from __future__ import annotations

import structlog

from syncd.telemetry.metrics import FEED_GAPS, FEED_SHIFTED

_log = structlog.stdlib.get_logger("syncd")


def entries_adopted(contract: str, projection: str, count: int) -> None:
    """A stream held entries before it became a change feed, and the contract says that this is meant."""
    _log.warning(
        "entries follow behind those of an application", contract=contract, projection=projection, count=count
    )


def feed_gap(contract: str, projection: str, why: str) -> None:
    """Changes are missing in a change feed: it begins again, and has an entry that says so."""
    FEED_GAPS.labels(contract).inc()
    _log.error("changes are missing in a change feed", contract=contract, projection=projection, why=why)


def entries_shifted(contract: str, count: int, *, log: bool) -> None:
    """A stream was ahead of MongoDB's time, so that entries got the next ids that it took."""
    if not count:
        return
    FEED_SHIFTED.labels(contract).inc(count)
    if log:
        _log.warning(
            "a stream is ahead of the changes, their entries get the ids behind its last one: another client wrote "
            "there, or the clock of this MongoDB is behind that of the one before",
            contract=contract, count=count,
        )  # fmt: skip
