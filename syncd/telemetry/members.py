"""Events of members of keys that documents share."""

from __future__ import annotations

import structlog

from syncd.telemetry.metrics import BOARD_FILLED, MEMBERS_EXPIRED

_log = structlog.stdlib.get_logger("syncd")


def members_expired(contract: str, projection: str, count: int) -> None:
    """The deadline of their documents has passed."""
    if count:
        MEMBERS_EXPIRED.labels(contract).inc(count)
        _log.info("members expired", contract=contract, projection=projection, count=count)


def board_filled(contract: str, projection: str, count: int) -> None:
    """Members left a key that holds so many only: of those that it had left out, these come back."""
    if count:
        BOARD_FILLED.labels(contract).inc(count)
        _log.info("members come back", contract=contract, projection=projection, count=count)


def board_not_filled(contract: str, projection: str, error: str) -> None:
    """MongoDB did not say which documents come back."""
    _log.warning(
        "a key holds fewer members than it may, and MongoDB does not say which belong there; is there an index over "
        "the fields of the key and the score?",
        contract=contract, projection=projection, error=error,
    )  # fmt: skip
