"""What a row of the console says: the worst of a contract, and who has to do something."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.ops.console.judgement import PATIENCE_S
from syncd.ops.console.rows import row

NOW = 2000.0
LANE = {
    "contract": "films", "partition": "1/1", "state": "live", "since": 1000.0, "error": "", "complaint": "",
    "lag_seconds": 0.2, "changes": 7, "dead_letters": 0, "snapshot": {"phase": "stream", "copied": 20},
}  # fmt: skip
PART = {
    "partition": "1/1", "holder": "far/x/1/y", "host": "far", "epoch": "5", "says": "", "phase": "stream", "copied": 20,
    "position": "1:1", "dead_letters": 0,
}  # fmt: skip


def of(*lanes: dict[str, Any], parts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return row("films", None, [LANE | lane for lane in lanes], parts or [], "here", NOW)


@pytest.mark.parametrize(
    ("lane", "level", "says"),
    [
        ({}, "well", ""),
        ({"state": "failed", "error": "no rights; grant read"}, "problem", "no rights; grant read"),
        ({"state": "paused", "error": "the collection is gone"}, "problem", "the collection is gone"),
        ({"state": "paused", "paused": {"by": "ann"}, "error": "paused by ann"}, "attention", "paused by ann"),
        ({"state": "waiting", "error": "no MongoDB", "since": NOW - 1}, "busy", "no MongoDB"),
        ({"state": "waiting", "error": "no MongoDB", "since": NOW - PATIENCE_S - 1}, "problem", "no MongoDB"),
        ({"state": "snapshot", "complaint": "snapshot"}, "busy", "copying"),
        ({"complaint": "9.0 s behind; slo.freshness is 5 s"}, "problem", "9.0 s behind; slo.freshness is 5 s"),
        ({"dead_letters": 1}, "attention", "1 dead letter: `syncd deadletters list films`"),
        ({"check": {"left": 3}}, "attention", "3 keys that differ"),
        ({"indexes": [{"problem": "another client has the name"}]}, "attention", "another client has the name"),
        ({"unfit_keys": {"count": 2, "why": "no id"}}, "attention", "2 keys left out: no id"),
    ],
)  # fmt: skip
def test_how_well_a_lane_is(lane: dict[str, Any], level: str, says: str) -> None:
    """A problem: readers do not get what the contract promises. Attention: a person has something to decide."""
    found = of(lane)
    assert found["level"] == level
    assert says in found["says"]
    assert found["holders"] == ["here"]


@pytest.mark.parametrize(
    ("part", "state", "level"),
    [
        ({}, "live", "well"),
        ({"dead_letters": 2}, "live", "attention"),
        ({"says": "snapshot", "phase": "snapshot"}, "snapshot", "busy"),
        ({"says": "9 s behind"}, "not ready", "problem"),
        ({"says": None}, "not ready", "busy"),
        ({"holder": "", "host": ""}, "no daemon", "problem"),
    ],
)
def test_what_another_daemon_holds(part: dict[str, Any], state: str, level: str) -> None:
    """A standby, and a daemon without the contract, show what Redis knows of the one that works on it."""
    for lanes in ([{"state": "standby"}], []):
        found = of(*lanes, parts=[PART | part])
        # What no daemon here knows may have been given up.
        wanted = "attention" if state == "no daemon" and not lanes else level
        assert (found["state"], found["level"]) == (state, wanted)
        assert found["holders"] == ([PART["host"]] if part.get("holder", "x") else [])
        assert not found["here"]


def test_a_standby_without_redis() -> None:
    """Then only what the lane itself says is known."""
    found = of({"state": "standby", "complaint": "no daemon holds the lease of films"})
    assert (found["state"], found["level"]) == ("standby", "problem")


def test_partitions_of_two_daemons() -> None:
    """The worst counts; copied documents and lag are of all that is known; dead letters are of the contract."""
    found = of(
        {"partition": "1/2", "dead_letters": 4},
        parts=[
            PART | {"partition": "1/2", "dead_letters": 4},
            PART
            | {"partition": "2/2", "says": "snapshot", "phase": "snapshot", "copied": 5, "dead_letters": 4},
        ],
    )
    assert (found["state"], found["level"]) == ("live", "attention")
    assert found["copied"] == 25
    assert found["dead_letters"] == 4
    assert found["holders"] == ["far", "here"]
