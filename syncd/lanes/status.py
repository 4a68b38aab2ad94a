"""What every lane reports about itself: written by its thread, read by HTTP, the metrics and the command line."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

from syncd import telemetry
from syncd.lanes.pulse import Pulse
from syncd.plan.partition import WHOLE, Partition

SILENT_S = 5.0
"""A live lane hears from a server every second at least. One that is stuck in a dead link, on either side, does not."""
LONG_SILENT_S = 30.0
"""The same for a lane that stands by: it asks every quarter of SYNCD_LEASE_TTL, and waits for MongoDB before."""
MOST_ERRORS = 10
"""Errors of a lane that are kept for people."""
UNKNOWN = float("nan")
"""What a gauge shows while the value is not known."""


class Sample(NamedTuple):
    """A lane at one moment."""

    lag_s: float | None
    changes: int
    """Since the lane began."""
    copied: int
    """Documents of the copy, or the last one."""


class BaseStatus:
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
        self.dead_letters: int | None = None
        """How many wait; None before they were counted, and while another daemon does the work."""
        self.peer = "the other daemon has not reported yet that it works"
        """For a lane that stands by: why the daemon that holds the lease does not serve; empty where it does."""
        self.check: dict[str, Any] | None = None
        """What the last comparison of both sides by this daemon found, without the keys."""
        self.nodes: list[dict[str, str]] = []
        """Those of a Redis Cluster, each with how far its record was at the last check."""
        self.pause: dict[str, Any] | None = None
        """Since when a person has paused the contract, who and why; None where none has."""
        self.errors: deque[dict[str, Any]] = deque(maxlen=MOST_ERRORS)
        """The last ones: epoch seconds, text, and how many times in a row."""
        self.pulse = Pulse()
        """Shared with the lane, which decides by it; here it is only shown."""

    def enter(self, state: str, *, error: str = "", **details: Any) -> None:
        """Come into another state; `error` says why when that is not a good one."""
        self.error = error
        if error:
            self._keep(error)
        self.heard()
        if state != self.state:
            self.state, self.since = state, time.time()
            telemetry.lane_state(self.contract, state, **details)

    def _keep(self, error: str) -> None:
        """An attempt that fails as the one before is another time of the same error."""
        times = 1
        if self.errors and self.errors[-1]["error"] == error:
            times += self.errors.pop()["times"]
        self.errors.append({"at": time.time(), "error": error, "times": times})

    def heard(self) -> None:
        """A server has answered."""
        self.pulse.heard()

    def copied_documents(self) -> int:
        """What the copy, or the last one, has copied."""
        return 0

    def sample(self) -> Sample:
        """How it is at this moment, for the history."""
        return Sample(self.lag(), self.changes, self.copied_documents())

    def left(self) -> None:
        """Another daemon goes on with the work, so this one no longer knows."""
        self.dead_letters = None

    def lag(self) -> float | None:
        """Seconds that the target is behind; None where that is not known."""
        raise NotImplementedError

    def dead_letters_counted(self, waiting: int) -> None:
        """So many dead letters wait in Redis."""
        self.dead_letters = waiting
        telemetry.DEAD.labels(self.contract).set(waiting)

    def measure(self) -> None:
        """Bring the gauges up to date that grow while nothing happens."""
        telemetry.LAG.labels(self.contract).set(known_or_nan(self.lag()))
        telemetry.DEAD.labels(self.contract).set(known_or_nan(self.dead_letters))
        telemetry.PAUSED.labels(self.contract).set(self.pause is not None)

    @property
    def complaint(self) -> str:
        """Why the lane is not ready; empty when it is, and readers get what the contract promises. A standby is ready
        while its peer says that it serves."""
        silence = self.pulse.silence
        if self.state == "standby":
            is_heard = silence < LONG_SILENT_S
            return (
                self.peer if is_heard else f"standing by, without an answer from a server for {silence:.0f} s"
            )
        if self.state != "live":
            return self.error or self.state
        lag = self.lag()
        if silence > SILENT_S:
            return f"no answer from MongoDB or Redis for {silence:.0f} s; are both up?"
        if lag is None:
            return "it is not known yet how far the target is behind"
        if self.freshness_s is not None and lag > self.freshness_s:
            return f"{lag:.1f} s behind; slo.freshness is {self.freshness_s:g} s"
        return ""

    def _more(self) -> dict[str, Any]:
        """`stream`, `position`, `snapshot` and `partitions`, and what else a kind of lane reports."""
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """For JSON. What is not known is None."""
        lag, complaint = self.lag(), self.complaint
        return {
            "contract": self.contract,
            "partition": str(self.partition),
            "collection": self.collection,
            "state": self.state,
            "since": self.since,
            "ready": not complaint,
            "lag_seconds": None if lag is None else round(lag, 3),
            "freshness_seconds": self.freshness_s,
            "changes": self.changes,
            "dead_letters": self.dead_letters,
            "paused": self.pause,
            "nodes": self.nodes,
            **self._more(),
            "error": self.error,
            "complaint": complaint,
            "errors": list(self.errors),
        }


def known_or_nan(value: float | None) -> float:
    """For a gauge."""
    return UNKNOWN if value is None else value
