"""What a lane from MongoDB to Redis reports about itself."""

from __future__ import annotations

import time
from typing import Any

from syncd import telemetry
from syncd.lanes.status import UNKNOWN, BaseStatus
from syncd.plan.partition import WHOLE, Partition
from syncd.stores.mongo.times import ZERO, Moment, readable, seconds
from syncd.stores.redis.records.position import STREAM, Position
from syncd.to_redis.stream.change_stream import age_of

OPLOG_CALM_S = 120
"""A young oplog is short without being full; an idle position is up to a minute old."""
OPLOG_ALARM = 0.6
"""Part of the oplog window that a lane may be behind without a warning."""


class LaneStatus(BaseStatus):
    """State of one lane from MongoDB to Redis."""

    def __init__(
        self, contract: str, collection: str, freshness_s: float | None, partition: Partition = WHOLE
    ) -> None:
        super().__init__(contract, collection, freshness_s, partition)
        self.stream = "own"
        """`shared` while a quiet lane has its changes from a stream that others read too."""
        self.partitions: list[dict[str, Any]] = []
        """All partitions of the contract, where it is split, as Redis showed them at the last check."""
        self.indexes: list[dict[str, Any]] = []
        """Each search index, as it was at the last check."""
        self.partial: dict[str, Any] | None = None
        """The last copy of some documents that this daemon made, or makes; see copy/partial."""
        self._unsearchable = ""
        self._fresh_at: float | None = None
        self._position: Position | None = None
        """Behind all that Redis shows; None where that is not known here. It may be later than the one in Redis, for an
        idle stream moves it in memory."""
        self._stored: Moment | None = None
        """Time of the one in Redis, at least."""
        self._alarmed = False
        self.refreshes = 0
        """Joined documents that have changed, and of which not all documents show that yet."""
        self._not_shown_since: float | None = None

    def took(self, events: list[dict[str, Any]]) -> None:
        """Redis confirmed these changes."""
        self.changes += len(events)
        self.heard()
        wall = events[-1].get("wallTime")
        if wall is not None:
            self._fresh_at = wall / 1000
            telemetry.END_TO_END.labels(self.contract).observe(max(0.0, age_of(events[0])))

    def searched(self, indexes: list[dict[str, Any]], complaint: str) -> None:
        """What the indexes are like; `complaint`: why searches do not find what they should."""
        self.indexes, self._unsearchable = indexes, complaint

    @property
    def complaint(self) -> str:
        """Why the lane is not ready; empty when it is."""
        return super().complaint or (self._unsearchable if self.state == "live" else "")

    def fresh_now(self, held_back_s: int = 0) -> None:
        """Redis has confirmed all that MongoDB had, and MongoDB says that there is nothing more, but perhaps of the
        last seconds, see `Batch`."""
        self._fresh_at = time.time() - held_back_s
        self.heard()

    def refreshing(self, pending: int, since: float | None) -> None:
        """So many joined documents have changed, the first at that time, and not all documents show it yet."""
        self.refreshes, self._not_shown_since = pending, since
        telemetry.REFRESHES.labels(self.contract).set(pending)

    def confirmed(self, position: Position, stored: Moment | None) -> None:
        """Redis shows everything up to `position`, and the position that it has is of the time `stored`, where this run
        has stored any."""
        self._position = position
        self._stored = self._stored if stored is None else stored

    def copied_documents(self) -> int:
        """What the copy, or the last one, has copied."""
        return 0 if self._position is None else self._position.copied

    @property
    def is_known(self) -> bool:
        """Whether anything is known of the state that Redis shows."""
        return self._fresh_at is not None

    def known(self, position: Position) -> None:
        """What a run or a daemon before has left. Redis shows the state of then, if all was copied."""
        if (before := self._stored) is not None and position.token is not None and position.time < before:
            telemetry.position_went_back(self.contract, seconds(before) - seconds(position.time))
            self._fresh_at = None
        self._position, self._stored = position, position.time
        if (since := position.joined.since) is not None:
            self.refreshing(len(position.joined.pending), seconds(since))
        if position.token is None or position.time == ZERO or position.phase != STREAM:
            self._fresh_at = None
        else:
            self._fresh_at = max(self._fresh_at or 0.0, seconds(position.time))

    def lag(self) -> float | None:
        """Seconds since the newest state that Redis is known to show: that of the last change that it confirmed, or of
        the moment at which MongoDB had no other. None before there is one, and during a copy."""
        if self._fresh_at is None or self.state == "snapshot":
            return None
        return max(0.0, time.time() - min(self._fresh_at, self._not_shown_since or self._fresh_at))

    def left(self) -> None:
        """Another daemon moves the position, so this one no longer knows it."""
        super().left()
        self._position = self._stored = self._fresh_at = self._not_shown_since = None
        self.refreshes = 0

    def oplog(self, first: int, last: int) -> None:
        """How far back the oplog reaches, in epoch seconds. Warns when the position has used up most of that."""
        window, position = last - first, self._position
        telemetry.OPLOG_WINDOW.set(window)
        behind = 0.0 if position is None or position.token is None else last - seconds(position.time)
        alarm = behind > max(OPLOG_ALARM * window, OPLOG_CALM_S)
        if alarm and not self._alarmed:
            telemetry.oplog_window_short(self.contract, window, behind)
        self._alarmed = alarm

    def is_behind(self, first: int) -> bool:
        """Whether the position is older than that moment, in epoch seconds."""
        position = self._position
        return position is not None and position.token is not None and seconds(position.time) < first

    def measure(self) -> None:
        """Bring the gauges up to date that grow while nothing happens."""
        super().measure()
        moment = self._moment
        age = UNKNOWN if moment is None else max(0.0, time.time() - seconds(moment))
        telemetry.POSITION_AGE.labels(self.contract).set(age)

    @property
    def _moment(self) -> Moment | None:
        known = self._position is not None and self._position.time != ZERO
        return self._position.time if known and self._position is not None else None

    def _more(self) -> dict[str, Any]:
        position, moment = self._position, self._moment
        return {
            "stream": self.stream,
            "refresh_pending": self.refreshes,
            "position": None if moment is None else readable(moment),
            "snapshot": {
                "phase": None if position is None else position.phase,
                "copied": None if position is None else position.copied,
            },
            "partial": self.partial,
            "partitions": self.partitions,
            "indexes": self.indexes,
            "check": self.check,
        }
