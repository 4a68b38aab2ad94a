"""What a lane tells about itself: written by its thread, read by the HTTP page, the metrics and the command line."""

from __future__ import annotations

import time
from typing import Any

from syncd import telemetry
from syncd.plan.partition import WHOLE, Partition
from syncd.stores.position import Position
from syncd.stores.times import ZERO, readable, seconds

SILENT_S = 5.0
"""A live lane hears from MongoDB every second. One that is stuck in a dead link, on either side, does not."""
OPLOG_CALM_S = 120
"""A young oplog is short without being full; an idle position is up to a minute old."""
OPLOG_ALARM = 0.6
"""Part of the oplog window that a lane may be behind before a person is told."""


class LaneStatus:
    """State of one lane. Reads are consistent enough for people: every field is replaced as a whole."""

    def __init__(
        self, contract: str, collection: str, freshness_s: float | None, partition: Partition = WHOLE
    ) -> None:
        self.contract, self.partition = contract, partition
        self.collection = collection
        self.freshness_s = freshness_s
        self.state = "starting"
        self.since = time.time()
        self.error = ""
        self.changes = 0
        self.dead_letters = 0
        self.stream = "own"
        """`shared` while a quiet lane has its changes from a stream that others read too."""
        self.partitions: list[dict[str, Any]] = []
        """All partitions of the contract, where it is split, as Redis showed them when the lane last looked."""
        self.check: dict[str, Any] | None = None
        """What the last comparison of both sides by this daemon found, without the keys."""
        self._fresh_at: float | None = None
        self._heard = time.monotonic()
        self._position = Position()
        self._alarmed = False

    def enter(self, state: str, *, error: str = "", **details: Any) -> None:
        """Come into another state; `error` says why when that is not a good one."""
        self.error = error
        self._heard = time.monotonic()
        if state != self.state:
            self.state, self.since = state, time.time()
            telemetry.lane_state(self.contract, state, **details)

    def took(self, events: list[dict[str, Any]]) -> None:
        """Redis confirmed these changes."""
        self.changes += len(events)
        self._heard = time.monotonic()
        wall = events[-1].get("wallTime")
        if wall is not None:
            self._fresh_at = wall / 1000
            telemetry.END_TO_END.labels(self.contract).observe(max(0.0, self.age_of(events[0])))

    @staticmethod
    def age_of(event: dict[str, Any]) -> float:
        """Seconds since a change was written, by the two machines' clocks."""
        wall = event.get("wallTime")
        return 0.0 if wall is None else time.time() - wall / 1000

    def fresh_now(self) -> None:
        """MongoDB says that there is nothing more."""
        self._fresh_at, self._heard = time.time(), time.monotonic()

    def confirmed(self, position: Position) -> None:
        """Redis holds everything up to `position`."""
        self._position = position
        telemetry.DEAD.labels(self.contract).set(self.dead_letters)

    def lag(self) -> float:
        """Seconds since the newest state that Redis is known to show; since the start before there is one."""
        return max(0.0, time.time() - (self._fresh_at or self.since))

    @property
    def ready(self) -> bool:
        """Whether readers get what the contract promises. A standby is ready: its peer serves."""
        return not self.complaint

    @property
    def complaint(self) -> str:
        """Why the lane is not ready; empty when it is."""
        if self.state == "standby":
            return ""
        if self.state != "live":
            return self.error or self.state
        lag, silence = self.lag(), time.monotonic() - self._heard
        if silence > SILENT_S:
            return f"no word from MongoDB or Redis for {silence:.0f} s; are both up?"
        if self.freshness_s is not None and lag > self.freshness_s:
            return f"{lag:.1f} s behind; slo.freshness is {self.freshness_s:g} s"
        return ""

    def oplog(self, first: int, last: int) -> None:
        """How far back the oplog reaches, in epoch seconds. Says so when the position has used up most of that."""
        window, behind = last - first, last - seconds(self._position.time)
        telemetry.OPLOG_WINDOW.set(window)
        alarm = behind > max(OPLOG_ALARM * window, OPLOG_CALM_S) and self._position.token is not None
        if alarm and not self._alarmed:
            telemetry.oplog_window_short(self.contract, window, behind)
        self._alarmed = alarm

    def measure(self) -> None:
        """Bring the gauges up to date that grow while nothing happens."""
        telemetry.LAG.labels(self.contract).set(self.lag())
        if self._position.time != ZERO:
            telemetry.POSITION_AGE.labels(self.contract).set(
                max(0.0, time.time() - seconds(self._position.time))
            )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "contract": self.contract,
            "partition": str(self.partition),
            "collection": self.collection,
            "state": self.state,
            "since": self.since,
            "ready": self.ready,
            "lag_seconds": round(self.lag(), 3),
            "freshness_seconds": self.freshness_s,
            "changes": self.changes,
            "dead_letters": self.dead_letters,
            "stream": self.stream,
            "position": readable(self._position.time),
            "snapshot": {"phase": self._position.phase, "copied": self._position.copied},
            "partitions": self.partitions,
            "check": self.check,
            "error": self.error,
            "complaint": self.complaint,
        }
