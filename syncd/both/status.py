"""What a lane that goes both ways reports about itself."""

from __future__ import annotations

import time
from typing import Any

from syncd import telemetry
from syncd.lanes.status import known_or_nan
from syncd.to_mongo.append.group import Backlog
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys
from syncd.to_redis.status import LaneStatus


class TwoWayStatus(LaneStatus):
    """State of one lane."""

    def __init__(self, contract: str, collection: str, freshness_s: float | None, unfit: UnfitKeys) -> None:
        super().__init__(contract, collection, freshness_s)
        self.unfit = unfit
        self.merge_requests = 0
        """About how many keys are to be merged because their documents changed."""
        self.conflicts = 0
        self._backlog: Backlog | None = None
        self._oldest = self._counted = 0.0

    def noted(self, merge_requests: int) -> None:
        """So many keys are to be merged."""
        self.merge_requests = merge_requests

    def counted(self, backlog: Backlog, merge_requests: int, first_ms: int) -> None:
        """What Redis says of changes that wait."""
        self._backlog, self._counted = backlog, time.monotonic()
        self.merge_requests, self._oldest = merge_requests, first_ms / 1000
        self.measure()

    def left(self) -> None:
        """The other daemon knows what waits."""
        super().left()
        self._backlog = None

    def lag(self) -> float | None:
        """Seconds that one side is behind the other: in the stream, in merge requests, or in what is captured."""
        stream, waits = super().lag(), 0.0
        if stream is None or self._backlog is None:
            return None
        if self._backlog.entries:
            waits = self._backlog.oldest + time.monotonic() - self._counted
        if self.merge_requests and self._oldest:
            waits = max(waits, time.time() - self._oldest)
        return max(waits, stream)

    def measure(self) -> None:
        """Bring the gauges up to date."""
        super().measure()
        telemetry.OUTBOX.labels(self.contract).set(known_or_nan(self._backlog and self._backlog.entries))
        telemetry.MARKED.labels(self.contract).set(self.merge_requests)

    def _more(self) -> dict[str, Any]:
        return {
            **super()._more(),
            "waiting": self._backlog and self._backlog.entries,
            "waiting_bytes": self._backlog and self._backlog.size,
            "marked": self.merge_requests if self._backlog else None,
            "conflicts": self.conflicts,
            "unfit_keys": self.unfit.told(),
        }
