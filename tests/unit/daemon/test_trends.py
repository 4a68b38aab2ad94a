"""What is kept of the last hours: a fixed number of buckets, and nothing that was not measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncd.daemon.trends import RESOLUTIONS, SPARK_BUCKETS, Resolution, Series, Trends, together
from syncd.lanes.status import Sample

STEP = Resolution(2.0, 10)


def test_a_bucket_has_the_worst_lag_and_all_that_was_done() -> None:
    """Samples of one bucket are one point; a bucket that no sample reached is not known."""
    series = Series(STEP)
    series.add(1000.0, 0.5, 3, 10)
    series.add(1001.9, 0.25, 4, 0)
    series.add(1006.0, None, 1, 0)
    points = series.points(1008.0)
    assert points["lag_seconds"] == [None] * 5 + [0.5, None, None, None, None]
    assert points["changes"] == [None] * 5 + [7, 0, 0, 1, None]
    assert sum(filter(None, points["copied"])) == 10


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1000)), max_size=60))
def test_the_oldest_gives_way(samples: list[tuple[float, int]]) -> None:
    """However long it runs, and wherever the clock jumps, there are as many points, and each shows its own bucket."""
    series, now, held = Series(STEP), 1000.0, {}
    for pause, changes in samples:
        now += pause
        series.add(now, 1.0, changes, 0)
        held[int(now // 2)] = held.get(int(now // 2), 0) + changes
    found = series.points(now)["changes"]
    newest = int(now // 2)
    first, last = min(held, default=newest + 1), max(held, default=newest)
    assert found == [
        held.get(number, 0) if first <= number <= last else None for number in range(newest - 9, newest + 1)
    ]


def test_a_clock_that_goes_back_breaks_nothing() -> None:
    """Then samples belong to the newest bucket."""
    series = Series(STEP)
    series.add(1000.0, 1.0, 1, 0)
    series.add(900.0, 2.0, 1, 0)
    assert series.points(1000.0)["changes"][-1] == 2
    assert series.points(1000.0)["lag_seconds"][-1] == 2.0


def lane(name: str, changes: int, lag: float | None = 0.1, copied: int = 0) -> Any:
    status = SimpleNamespace(sample=lambda: Sample(lag, changes, copied))
    return SimpleNamespace(plan=SimpleNamespace(name=name), status=status)


def test_lanes_come_and_go() -> None:
    """What a copy had copied before a lane began does not count; a lane that was replaced counts from 0; one that is
    gone is forgotten."""
    lanes = [lane("a", 3, copied=1000), lane("b", 5)]
    trends = Trends(lambda: lanes)
    trends.sample(1000.0)
    lanes[:] = [lane("a", 13, copied=1010)]
    trends.sample(1002.0)
    lanes[:] = [lane("a", 4, None)]
    trends.sample(1004.0)
    points = trends.points("a", "minutes", 1004.0)
    assert points is not None
    assert points["changes"][-3:] == [3, 10, 4]
    assert points["copied"][-3:] == [0, 10, 0]
    assert points["lag_seconds"][-1] is None
    assert trends.points("b", "minutes", 1004.0) is None
    assert list(trends.sparks(1004.0)) == ["a"]
    assert len(trends.sparks(1004.0)["a"]) == RESOLUTIONS["minutes"].kept // SPARK_BUCKETS


def test_partitions_together() -> None:
    """The worst lag of all, and what they did in sum."""
    parts = [
        {"lag_seconds": [None, 1.0], "changes": [None, 2.0], "copied": [0.0, 0.0]},
        {"lag_seconds": [None, 3.0], "changes": [None, 4.0], "copied": [None, 4.0]},
    ]
    assert together(parts) == {"lag_seconds": [None, 3.0], "changes": [None, 6.0], "copied": [0.0, 4.0]}
