"""What `syncd status` shows of the daemon's answer."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.cli.status import _columns, _in_full, _lines, _print_table, _row
from syncd.to_redis.status import LaneStatus


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


def test_all_that_is_known_of_a_lane_can_be_read() -> None:
    """Moments as people write them, and a line for each error."""
    errors = [{"at": 0.0, "error": "no connection", "times": 3}, {"at": 60.0, "error": "late", "times": 1}]
    said = {"since": 1.0, "ready": False, "errors": errors, "snapshot": {"phase": "stream", "copied": 7}}
    assert list(_in_full(said | {"contract": "film", "partition": "1/1", "tls": None})) == [
        "film:",
        "  since: 1970-01-01T00:00:01+00:00",
        "  ready: no",
        "  errors:",
        "    at 1970-01-01T00:00:00+00:00, error no connection, times 3",
        "    at 1970-01-01T00:01:00+00:00, error late, times 1",
        "  snapshot: phase stream, copied 7",
    ]


def test_what_waits_for_an_approval_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a contract of which nothing runs yet, which is among those that the daemon does not know."""
    contracts = {"valid": True, "problems": [], "waiting": {"film": "3f2a", "cast": "77b1"}}
    unknown = {"film": "its first version waits for approval: `syncd approve film 3f2a`"}
    _print_table({"version": "1", "lanes": [], "contracts": contracts, "unknown": unknown})
    _, *said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in said] == ["cast", "film"]


def table(capsys: pytest.CaptureFixture[str], width: int, *lanes: dict[str, Any]) -> list[str]:
    rows = [_row(lane) for lane in lanes]
    return list(_lines(rows, _columns(rows, width)))


def test_a_narrow_terminal_leaves_columns_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut: at 80 columns those of little use are left out, and a wide one shows all."""
    lane = LaneStatus("a-contract-with-a-long-name", "catalog.films_of_all_times", 1.0)
    lane.enter("live")
    narrow, wide = (table(capsys, width, lane.as_dict()) for width in (80, 200))
    assert max(map(len, narrow)) <= 80
    assert "a-contract-with-a-long-name" in narrow[1]
    assert narrow[0].split("  ")[0] == "contract"
    assert "position" in wide[0]
    assert "catalog.films_of_all_times" in wide[1]


def test_what_is_not_known_is_a_question_mark(capsys: pytest.CaptureFixture[str]) -> None:
    """nothing_silent: not a zero, which would be a claim."""
    lane = LaneStatus("film", "catalog.films", 1.0)
    assert table(capsys, 200, lane.as_dict())[1].split() == [
        "film", "catalog.films", "starting", "?", "0", "?", "?", "?",
    ]  # fmt: skip
