"""What a lane decides is logged, counted and recorded; what is recorded decides nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from structlog.testing import capture_logs

from syncd import telemetry
from syncd.errors import FencedError, TransientError
from syncd.lanes.events import (
    AllMerged,
    Confirmed,
    Copied,
    Entered,
    Failed,
    LeaseTaken,
    Started,
    SweepBegan,
    Tried,
)
from syncd.lanes.situation import LaneRules, State
from syncd.lanes.state import LaneState
from syncd.stores.mongo.times import ZERO
from syncd.to_redis.status import LaneStatus


def lane(contract: str, *, merges: bool = False) -> tuple[LaneState, LaneStatus]:
    telemetry.contract_known(contract, None)
    status = LaneStatus(contract, "catalog.films", None)
    return LaneState(LaneRules(contract, 10.0, has_position=True, merges=merges), status), status


def begin(state: LaneState, entered: Entered) -> None:
    for event in (Tried(), LeaseTaken(), Started(), entered):
        state.tell(event)


def test_a_retry_is_counted_and_not_logged_again() -> None:
    """nothing_silent: the same trouble is one line of the log and two restarts."""
    state, status = lane("retried")
    with capture_logs() as entries:
        for _ in range(2):
            state.tell(Failed(TransientError("mongo", "no connection"), 0.5))
    assert [entry["event"] for entry in entries] == ["lane interrupted", "lane waiting"]
    assert telemetry.RESTARTS.labels("retried", "transient")._value.get() == 2
    assert (status.state, status.complaint) == ("waiting", "no connection")


def test_people_see_the_sweep_as_a_part_of_the_snapshot() -> None:
    """One line for a copy, which says why it began, and one for its end."""
    state, status = lane("swept")
    with capture_logs() as entries:
        begin(state, Entered(copies=True, reason="no position"))
        state.tell(SweepBegan())
        assert (state.state, status.state) == (State.SWEEP, "snapshot")
        state.tell(Copied(ZERO))
    said = [(entry["event"], entry.get("reason")) for entry in entries]
    assert said == [("lane snapshot", "no position"), ("lane catching up", "snapshot finished")]


def test_what_the_status_says_decides_nothing() -> None:
    """nothing_silent: a status that says `live` makes no lane live, and no status keeps a lane from it."""
    state, status = lane("vetoed", merges=True)
    begin(state, Entered())
    status.enter("live")
    state.tell(Confirmed())
    assert state.awaits_merge
    assert not state.is_live
    status.enter("failed", error="odd")
    state.tell(AllMerged())
    state.tell(Confirmed())
    assert state.is_live
    assert (status.state, status.error) == ("live", "")


def test_a_lane_that_stands_by_knows_nothing_of_the_work() -> None:
    """nothing_silent: what the other daemon moves is not claimed any more."""
    state, status = lane("left")
    status.dead_letters_counted(3)
    state.tell(Failed(FencedError("b holds the lease", "b"), 0.5))
    assert (status.state, status.dead_letters) == ("standby", None)


DECIDES = {"state", "error", "peer", "merge_requests", "lag", "since", "conflicts"}
SYNCD = Path(__file__).parents[3] / "syncd"


def test_nothing_asks_a_status_how_the_lane_is() -> None:
    """What a lane does follows from its situation. A status is written by lanes, and read by pages and metrics."""
    read = [
        f"{file.relative_to(SYNCD)}:{node.lineno} reads {ast.unparse(node)}"
        for file in sorted(SYNCD.rglob("*.py"))
        if re.search(r"status\s*\.", file.read_text())  # parsing all of them takes seconds
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and node.attr in DECIDES
        and ast.unparse(node.value).rpartition(".")[2] in ("status", "_status")
    ]
    assert not read, "\n".join(read)
