from __future__ import annotations

import math
from typing import Any

import pytest
from bson import Timestamp
from structlog.testing import capture_logs

from syncd import telemetry
from syncd.lanes import pulse
from syncd.lanes import status as base
from syncd.lanes.status import LONG_SILENT_S, SILENT_S
from syncd.stores.mongo.times import moment
from syncd.stores.redis.records.position import Position
from syncd.to_redis import status
from syncd.to_redis.status import OPLOG_CALM_S, LaneStatus

NOW = 1_700_000_000


def at(seconds: int) -> Position:
    return Position(token={"_data": "82"}, time=moment(Timestamp(seconds, 1)))


def warnings(lane: LaneStatus, window_s: int, behind_s: int) -> list[Any]:
    """What is logged when the oplog reaches back `window_s` and the position lies `behind_s` behind its end."""
    lane.confirmed(at(NOW - behind_s), None)
    with capture_logs() as entries:
        lane.oplog(NOW - window_s, NOW)
    return entries


def test_a_position_that_nears_the_end_of_the_oplog() -> None:
    """It is an error in the log, with both figures, from three fifths of the window on."""
    lane = LaneStatus("film", "catalog.films", None)
    assert not warnings(lane, 1000, 590)
    (entry,) = warnings(lane, 1000, 610)
    assert entry["log_level"] == "error"
    assert entry["contract"] == "film"
    assert (entry["position_age_seconds"], entry["oplog_window_seconds"]) == (610, 1000)


def test_it_is_said_once_until_it_was_fixed() -> None:
    """One line while it lasts, and another when it happens again."""
    lane = LaneStatus("film", "catalog.films", None)
    assert len(warnings(lane, 1000, 700)) == 1
    assert not warnings(lane, 1000, 900)
    assert not warnings(lane, 1000, 5)
    assert len(warnings(lane, 1000, 700)) == 1


def test_a_young_oplog_is_no_alarm() -> None:
    """What is short because it is young, or behind by no more than an idle position may be, is none."""
    lane = LaneStatus("film", "catalog.films", None)
    assert not warnings(lane, 10, 9)
    assert not warnings(lane, OPLOG_CALM_S, OPLOG_CALM_S)
    assert len(warnings(lane, OPLOG_CALM_S + 5, OPLOG_CALM_S + 1)) == 1


def test_no_position_is_no_alarm() -> None:
    """A lane that has none, or whose lease another daemon holds, has nothing to lose."""
    lane = LaneStatus("film", "catalog.films", None)
    with capture_logs() as entries:
        lane.oplog(NOW - 1000, NOW)
    assert not entries


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return NOW + self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (base, pulse, status):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_silence_is_not_readiness(clock: Clock) -> None:
    """A lane that is live is ready as long as it hears from MongoDB, whatever the contract promises."""
    lane = LaneStatus("film", "catalog.films", None)
    assert lane.complaint == "starting"
    lane.enter("live")
    lane.fresh_now()
    clock.now += SILENT_S
    assert not lane.complaint
    clock.now += 1
    assert lane.complaint == "no answer from MongoDB or Redis for 6 s; are both up?"
    lane.fresh_now()
    assert not lane.complaint


def test_late_is_not_ready(clock: Clock) -> None:
    """Beyond the freshness that the contract promises a live lane is not ready, and says how late it is."""
    lane = LaneStatus("film", "catalog.films", 5.0)
    lane.enter("live")
    lane.took([{"wallTime": (clock.time() - 7) * 1000}])
    assert lane.complaint == "7.0 s behind; slo.freshness is 5 s"
    lane.took([{"wallTime": (clock.time() - 4) * 1000}])
    assert not lane.complaint


def test_ready_and_its_reason_are_of_one_moment(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_silent: a lane that becomes late while it is asked does not say that it is ready, and late."""
    lane = LaneStatus("film", "catalog.films", 5.0)
    lane.enter("live")
    lane.took([{"wallTime": clock.time() * 1000}])
    start = clock.now

    def late_by_now() -> float:
        clock.now += 1
        return NOW + clock.now

    monkeypatch.setattr(clock, "time", late_by_now)
    for turn in range(10):
        clock.now = start + turn
        said = lane.as_dict()
        assert said["ready"] == (not said["complaint"])


def test_a_standby_is_ready_while_its_peer_serves(clock: Clock) -> None:
    """nothing_silent: ready is what another daemon says; silence is no yes."""
    lane = LaneStatus("film", "catalog.films", 1.0)
    lane.enter("standby", error="another daemon holds the lease")
    assert lane.complaint == "the other daemon has not reported yet that it works"
    lane.peer = ""
    assert not lane.complaint
    clock.now += LONG_SILENT_S + 1
    assert lane.complaint == "standing by, without an answer from a server for 31 s"
    lane.enter("waiting", error="no connection to Redis")
    assert lane.complaint == "no connection to Redis"


def unknown(lane: LaneStatus) -> bool:
    said = lane.as_dict()
    figures = said["lag_seconds"], said["position"], said["dead_letters"], said["snapshot"]["copied"]
    return figures == (None, None, None, None)


def test_what_is_not_known_is_not_zero(clock: Clock) -> None:
    """nothing_silent: before a lane has looked, and once another daemon does its work, nothing is claimed: null on the
    page, NaN in the metrics."""
    lane = LaneStatus("unknown", "catalog.films", None)
    assert unknown(lane)
    lane.known(at(NOW))
    lane.enter("live")
    lane.dead_letters_counted(12)
    assert not unknown(lane)
    assert lane.as_dict()["position"] == f"{NOW}:1"
    lane.left()
    assert unknown(lane)
    lane.measure()
    for gauge in (telemetry.LAG, telemetry.DEAD, telemetry.POSITION_AGE):
        assert math.isnan(gauge.labels("unknown")._value.get())


def test_the_age_counts_from_what_was_applied(clock: Clock) -> None:
    """nothing_silent: a lane that waits, or starts again, is as old as what Redis was last known to show."""
    lane = LaneStatus("film", "catalog.films", None)
    lane.enter("live")
    lane.took([{"wallTime": clock.time() * 1000}])
    for state in ("waiting", "catching_up", "waiting"):
        clock.now += 100
        lane.known(at(NOW + 900))
        lane.enter(state)
    assert lane.lag() == 300
    lane.known(Position())
    assert lane.lag() is None, "an empty Redis shows nothing"


def test_what_moved_in_memory_alone_is_not_lost(clock: Clock) -> None:
    """nothing_silent: Redis has lost something where it has less than it had confirmed. An idle stream moves the
    position without a call, and what another daemon has moved since is no loss either."""
    lane = LaneStatus("film", "catalog.films", None)
    lane.known(at(NOW))
    went_back = telemetry.RESTARTS.labels("film", "redis_went_back")._value
    lane.confirmed(at(NOW + 60), None)
    lane.known(at(NOW))
    lane.confirmed(at(NOW + 90), at(NOW + 30).time)
    lane.known(at(NOW + 30))
    lane.left()
    lane.known(at(NOW + 20))
    before = went_back.get()
    lane.known(at(NOW + 19))
    assert (before, went_back.get()) == (0, 1)
