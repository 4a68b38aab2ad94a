"""What a lane from Redis to MongoDB tells about itself, in the words of the other lanes."""

from __future__ import annotations

import time
from typing import Any

from syncd import telemetry
from syncd.plan.append import AppendPlan
from syncd.writebehind.group import Backlog

SILENT_S = 5.0
"""A live lane hears from Redis twice a second, and from MongoDB whenever it writes."""


class AppendStatus:
    """State of one lane: written by its thread, read by the HTTP page, the metrics and the command line."""

    def __init__(self, plan: AppendPlan, freshness_s: float | None) -> None:
        self.contract, self.collection = plan.name, plan.contract.mongo.collection
        self.freshness_s = freshness_s
        self.state, self.since, self.error = "starting", time.time(), ""
        self.changes = self.dead_letters = 0
        self._heard = time.monotonic()
        self._backlog = Backlog(0, 0.0, "")
        self._looked = time.monotonic()

    def enter(self, state: str, *, error: str = "") -> None:
        """Come into another state; `error` says why when that is not a good one."""
        self.error = error
        self.heard()
        if state != self.state:
            self.state, self.since = state, time.time()
            telemetry.lane_state(self.contract, state)

    def heard(self) -> None:
        """A server has answered."""
        self._heard = time.monotonic()

    def took(self, entries: int) -> None:
        """Entries are done."""
        self.changes += entries
        self.heard()

    def looked(self, backlog: Backlog, dead_letters: int) -> None:
        """What Redis says of the group."""
        self._backlog, self._looked, self.dead_letters = backlog, time.monotonic(), dead_letters
        self.measure()

    def lag(self) -> float:
        """Age in seconds of the oldest entry that is not acknowledged; it grows while nobody looks."""
        if not self._backlog.entries and self.state == "live":
            return 0.0
        return self._backlog.oldest + time.monotonic() - self._looked

    @property
    def ready(self) -> bool:
        """Whether entries go where the contract says, in time."""
        return not self.complaint

    @property
    def complaint(self) -> str:
        """Why the lane is not ready; empty when it is."""
        if self.state != "live":
            return self.error or self.state
        lag, silence = self.lag(), time.monotonic() - self._heard
        if silence > SILENT_S:
            return f"no word from MongoDB or Redis for {silence:.0f} s; are both up?"
        if self.freshness_s is not None and lag > self.freshness_s:
            return f"{lag:.1f} s behind; slo.freshness is {self.freshness_s:g} s"
        return ""

    def measure(self) -> None:
        """Bring the gauges up to date."""
        telemetry.LAG.labels(self.contract).set(self.lag())
        telemetry.OUTBOX.labels(self.contract).set(self._backlog.entries)
        telemetry.DEAD.labels(self.contract).set(self.dead_letters)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "contract": self.contract,
            "partition": "1/1",
            "collection": self.collection,
            "state": self.state,
            "since": self.since,
            "ready": self.ready,
            "lag_seconds": round(self.lag(), 3),
            "freshness_seconds": self.freshness_s,
            "changes": self.changes,
            "dead_letters": self.dead_letters,
            "stream": "group",
            "waiting": self._backlog.entries,
            "position": self._backlog.acknowledged,
            "snapshot": {"phase": "stream", "copied": 0},
            "partitions": [],
            "error": self.error,
            "complaint": self.complaint,
        }
