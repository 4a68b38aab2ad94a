"""What a lane from Redis to MongoDB reports about itself, in the words of the other lanes."""

from __future__ import annotations

import time
from typing import Any

from syncd import telemetry
from syncd.lanes.status import BaseStatus, known_or_nan
from syncd.to_mongo.append.group import Backlog


class AppendStatus(BaseStatus):
    """State of one lane over a stream. It hears from Redis twice a second, and from MongoDB whenever it writes."""

    def __init__(self, contract: str, collection: str, freshness_s: float | None) -> None:
        super().__init__(contract, collection, freshness_s)
        self._backlog: Backlog | None = None
        """None where this daemon does not know what waits."""
        self._counted_at = time.monotonic()

    def left(self) -> None:
        """Another daemon works on the stream."""
        super().left()
        self._backlog = None
        self.measure()

    def took(self, entries: int) -> None:
        """Entries are done."""
        self.changes += entries
        self.heard()

    def counted(self, backlog: Backlog, dead_letters: int | None) -> None:
        """What Redis says of the group."""
        self._backlog, self._counted_at, self.dead_letters = backlog, time.monotonic(), dead_letters
        self.measure()

    def lag(self) -> float | None:
        """Age in seconds of the oldest entry that is not acknowledged; it grows while it is not read again."""
        if self._backlog is None:
            return None
        if not self._backlog.entries and self.state == "live":
            return 0.0
        return self._backlog.oldest + time.monotonic() - self._counted_at

    def measure(self) -> None:
        """Bring the gauges up to date."""
        super().measure()
        telemetry.OUTBOX.labels(self.contract).set(known_or_nan(self._backlog and self._backlog.entries))

    def _more(self) -> dict[str, Any]:
        return {
            "stream": "group",
            "waiting": self._backlog and self._backlog.entries,
            "position": (self._backlog and self._backlog.acknowledged) or None,
            "snapshot": {"phase": "stream", "copied": 0},
            "partitions": [],
        }
