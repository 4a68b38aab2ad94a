"""Keys that match the pattern of a contract and do not fit its template: nothing arrives, so people must see them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import xxhash

from syncd import telemetry
from syncd.contract.model.redis.template import CONTROL_PREFIX, KeyTemplate
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.records.claims import claimed_by_others
from syncd.stores.redis.store import RedisStore
from syncd.text import clipped, escaped

MOST_COUNTED = 10_000
"""Keys that are counted: less than a megabyte. The count ends there."""
LONGEST_EXAMPLE = 200
CLAIMS_S = 10.0
"""How long the claims of other contracts are kept before they are read again."""


def shown(key: bytes) -> str:
    """A key as people may see it."""
    return clipped(escaped(key.decode(errors="backslashreplace")), LONGEST_EXAMPLE)


class UnfitKeys:
    """Of one lane. Noted by its threads, read by any."""

    def __init__(self, redis: RedisStore, plan: StatePlan) -> None:
        self._redis, self._plan = redis, plan
        self._others: list[KeyTemplate] = []
        self._checked_at = 0.0
        self._lock = threading.Lock()
        self._seen: set[int] = set()
        self._example = self._why = ""

    def note(self, keys: Sequence[bytes]) -> None:
        """Keys that are not the contract's: another contract may have them."""
        if keys:
            telemetry.foreign_keys(self._plan.name, len(keys))
        if unfit := [key for key in keys if not self._is_anothers(key)]:
            self._keep(unfit)

    def _is_anothers(self, key: bytes) -> bool:
        """Whether a key is syncd's own, or another contract has it."""
        if key.startswith(CONTROL_PREFIX.encode()):
            return True
        if time.monotonic() - self._checked_at >= CLAIMS_S:
            self._others = claimed_by_others(self._redis, self._plan.name)
            self._checked_at = time.monotonic()
        return any(other.fits(key) for other in self._others)

    def _keep(self, keys: list[bytes]) -> None:
        why = self._plan.why_no_key(keys[0])
        with self._lock:
            is_first = not self._seen
            room = MOST_COUNTED - len(self._seen)
            self._seen.update(map(xxhash.xxh3_64_intdigest, keys[:room]))
            self._example, self._why = shown(keys[0]), why
            count = len(self._seen)
        telemetry.keys_unfit(self._plan.name, count, why if is_first else "")

    def forget(self) -> None:
        """All keys are read once more."""
        with self._lock:
            self._seen.clear()
            self._example = self._why = ""
        telemetry.keys_unfit(self._plan.name, 0, "")

    def told(self) -> dict[str, Any]:
        """For JSON."""
        with self._lock:
            return {"count": len(self._seen), "example": self._example, "why": self._why}
