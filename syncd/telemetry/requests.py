"""Events of what people ask for."""

from __future__ import annotations

import structlog

_log = structlog.stdlib.get_logger("syncd")


def contract_removed(contract: str, keys: int, members: int, indexes: list[str], records: int) -> None:
    """What a contract had left in Redis was removed, as a person asked over HTTP."""
    said = {"keys": keys, "members": members, "indexes": indexes, "records": records}
    _log.info("contract removed", contract=contract, **said)


def removal_failed(contract: str, error: str) -> None:
    """It was not removed, or not to the end: asked again, the rest goes."""
    _log.error("contract not removed", contract=contract, error=error)


def asked_for(action: str, contract: str, by: str) -> None:
    """A person asked over HTTP for something that changes what a contract does."""
    _log.info("asked for", action=action, contract=contract, by=by)
