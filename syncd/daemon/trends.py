"""What each contract did over the last hours: lag, changes and copied documents, in memory of a fixed size."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from syncd.lanes.lane import BaseLane
from syncd.lanes.status import Sample

UNKNOWN = math.nan


class Resolution(NamedTuple):
    """How long a bucket is, and how many there are."""

    step_s: float
    kept: int


RESOLUTIONS: Mapping[str, Resolution] = {"minutes": Resolution(2.0, 300), "hours": Resolution(60.0, 360)}
"""Ten minutes, and six hours: together some 8 kB for each contract."""
SAMPLE_S = RESOLUTIONS["minutes"].step_s

Points: TypeAlias = dict[str, list[float | None]]
"""`lag_seconds`, `changes` and `copied` of each bucket, the oldest first; what is not known is None."""


NO_POINTS: Points = {"lag_seconds": [], "changes": [], "copied": []}

Sparks: TypeAlias = dict[str, list[float | None]]
"""Of each contract the lag over the last minutes, in few points."""
SPARK_BUCKETS = 5
SPARK_S = SPARK_BUCKETS * SAMPLE_S


class Series:
    """The buckets of one contract in one resolution. The oldest gives way to the newest."""

    def __init__(self, resolution: Resolution) -> None:
        self._step_s, self._kept = resolution
        self._lag, self._changes, self._copied = (
            array("f", [value]) * self._kept for value in (UNKNOWN, 0.0, 0.0)
        )
        self._first: int | None = None
        self._last: int | None = None

    def add(self, now: float, lag: float | None, changes: int, copied: int) -> None:
        """A sample: the lag at this moment, and what was done since the sample before."""
        bucket = int(now // self._step_s)
        if self._first is None:
            self._first = bucket
        self._go_on(bucket)
        assert self._last is not None
        at = self._last % self._kept
        if lag is not None and not self._lag[at] >= lag:
            self._lag[at] = lag
        self._changes[at] += changes
        self._copied[at] += copied

    def _go_on(self, bucket: int) -> None:
        """Empty the buckets up to this one. A clock that goes back adds to the newest."""
        first = bucket if self._last is None else self._last + 1
        for number in range(max(first, bucket - self._kept + 1), bucket + 1):
            at = number % self._kept
            self._lag[at], self._changes[at], self._copied[at] = UNKNOWN, 0.0, 0.0
        self._last = bucket if self._last is None else max(bucket, self._last)

    def points(self, now: float) -> Points:
        """All buckets up to now; those that no sample reached hold nothing."""
        newest = int(now // self._step_s)
        numbers = range(newest - self._kept + 1, newest + 1)
        held = [number % self._kept if self._holds(number) else None for number in numbers]
        return {
            "lag_seconds": [None if at is None else known(self._lag[at]) for at in held],
            "changes": [None if at is None else self._changes[at] for at in held],
            "copied": [None if at is None else self._copied[at] for at in held],
        }

    def _holds(self, number: int) -> bool:
        """Whether a sample reached it, or one before and one after it."""
        if self._last is None or self._first is None:
            return False
        return max(self._first, self._last - self._kept + 1) <= number <= self._last


def known(lag: float) -> float | None:
    """A lag for JSON."""
    return None if math.isnan(lag) else round(lag, 3)


def together(parts: Sequence[Points]) -> Points:
    """Of all partitions of a contract: the worst lag, and what was done together."""
    done = {
        name: [_sum(some) for some in zip(*(part[name] for part in parts), strict=True)]
        for name in ("changes", "copied")
    }
    return {"lag_seconds": worst_of([part["lag_seconds"] for part in parts]), **done}


def _sum(some: Iterable[float | None]) -> float | None:
    known = [one for one in some if one is not None]
    return sum(known) if known else None


def worst_of(lags: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Bucket by bucket."""
    return [worst(some) for some in zip(*lags, strict=True)]


def worst(lags: Iterable[float | None]) -> float | None:
    """The largest that is known."""
    return max((lag for lag in lags if lag is not None), default=None)


class Trends(threading.Thread):
    """Of the lanes of one process: samples them until `stop`."""

    def __init__(self, lanes: Callable[[], Iterable[BaseLane]]) -> None:
        super().__init__(name="trends", daemon=True)
        self._lanes = lanes
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._series: dict[str, dict[str, Series]] = {}
        self._before: dict[str, Sample] = {}

    def run(self) -> None:
        """Sample every SAMPLE_S."""
        while not self._halt.wait(SAMPLE_S):
            self.sample(time.time())

    def stop(self) -> None:
        """Sample no more."""
        self._halt.set()

    def sample(self, now: float) -> None:
        """Read what every lane says of itself. Contracts that are gone are forgotten."""
        samples = {lane.plan.name: lane.status.sample() for lane in self._lanes()}
        with self._lock:
            for name in self._series.keys() - samples.keys():
                del self._series[name], self._before[name]
            for name, one in samples.items():
                # A lane counts its changes from 0, but knows what the copy before its start has copied.
                before = self._before.get(name) or one._replace(changes=0)
                self._before[name] = one
                series = self._series.setdefault(name, {key: Series(of) for key, of in RESOLUTIONS.items()})
                done = _more(before.changes, one.changes), _more(before.copied, one.copied)
                for buckets in series.values():
                    buckets.add(now, one.lag_s, *done)

    def points(self, contract: str, resolution: str, now: float) -> Points | None:
        """Of one contract; None where it does not run here. `resolution`: a name of RESOLUTIONS."""
        with self._lock:
            series = self._series.get(contract)
            return None if series is None else series[resolution].points(now)

    def sparks(self, now: float) -> Sparks:
        """Of all contracts the lag of the last minutes."""
        with self._lock:
            return {name: coarser(series["minutes"].points(now)) for name, series in self._series.items()}


def coarser(points: Points) -> list[float | None]:
    """The worst lag of each SPARK_BUCKETS buckets."""
    lags = points["lag_seconds"]
    return [worst(lags[at : at + SPARK_BUCKETS]) for at in range(0, len(lags), SPARK_BUCKETS)]


def _more(before: int, now: int) -> int:
    """A lane that was replaced counts from 0 again."""
    return now - before if now >= before else now
