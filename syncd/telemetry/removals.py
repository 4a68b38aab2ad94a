"""Events of keys that are removed, and of keys without a document that are not removed."""

from __future__ import annotations

import time
from collections import Counter

import structlog

from syncd.telemetry.metrics import FOREIGN_KEYS, KEYS_REMOVED, RESTARTS

_log = structlog.stdlib.get_logger("syncd")
INTERVAL_S = 10.0
"""Removals of one reason are one line in so much time."""


class Removals:
    """What one run of a lane removes."""

    def __init__(self, contract: str) -> None:
        self._contract = contract
        self._waiting: Counter[str] = Counter()
        self._next = 0.0

    def add(self, reason: str, count: int) -> None:
        """So many keys are gone."""
        if count:
            KEYS_REMOVED.labels(self._contract, reason).inc(count)
            self._waiting[reason] += count

    def log(self, *, now: bool = False) -> None:
        """Log what was counted, at most once per INTERVAL_S; `now`: in any case."""
        if self._waiting and (now or time.monotonic() >= self._next):
            for reason, count in self._waiting.items():
                _log.info("keys removed", contract=self._contract, reason=reason, count=count)
            self._waiting.clear()
            self._next = time.monotonic() + INTERVAL_S


def sweep_held_back(contract: str, error: str) -> None:
    """A copy found more keys to remove than it may. It removed none; a person has to allow it."""
    RESTARTS.labels(contract, "sweep_limit").inc()
    _log.error("lane paused, too many keys would be removed", contract=contract, error=error)


def keys_of_others(contract: str, projection: str, count: int) -> None:
    """Keys were there under a template before any contract had it."""
    _log.warning(
        "keys of an application are under the key template; those without a document stay", contract=contract,
        projection=projection, count=count, see="sync.adopt, or `syncd snapshot NAME --adopt`, to take them over",
    )  # fmt: skip


def keys_left_alone(contract: str, count: int) -> None:
    """The number of foreign keys that are left alone now."""
    FOREIGN_KEYS.labels(contract).set(count)
