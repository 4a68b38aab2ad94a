"""What `syncd status` shows of the daemon's answer."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.cli.status import _print_table
from syncd.inbound.status import LaneStatus


def shown(lane: LaneStatus, capsys: pytest.CaptureFixture[str], **said: Any) -> list[str]:
    """What stands behind the table."""
    lanes = [lane.as_dict() | said]
    _print_table({"version": "1", "lanes": lanes, "contracts": {"valid": True, "problems": []}})
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("film:")]


def test_why_a_live_lane_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """nothing_silent: exit code 1 goes with the reason, also where the lane has no error."""
    lane = LaneStatus("film", "catalog.films", 1.0)
    lane.enter("live")
    lane.fresh_now()
    assert not shown(lane, capsys)
    late = "7.0 s behind; slo.freshness is 1 s"
    assert shown(lane, capsys, complaint=late) == [f"film: {late}"]


def test_a_state_is_not_told_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """That a lane copies stands in the table; what a server said stands behind it."""
    lane = LaneStatus("film", "catalog.films", None)
    lane.enter("snapshot")
    assert not shown(lane, capsys)
    lane.enter("waiting", error="no connection")
    assert shown(lane, capsys) == ["film: no connection"]
