"""Events of what people ask for."""

from __future__ import annotations

import structlog

_log = structlog.stdlib.get_logger("syncd")


def asked_for(action: str, contract: str, by: str) -> None:
    """A person asked over HTTP for something that changes what a contract does."""
    _log.info("asked for", action=action, contract=contract, by=by)
