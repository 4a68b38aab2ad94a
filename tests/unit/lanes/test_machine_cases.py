"""Decisions of the lane machine, case by case: lost positions, held sweeps, standby, the traces of its docstring."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from syncd.errors import (
    DeadLettersFullError,
    EventTooLargeError,
    FencedError,
    OplogTooShortError,
    PositionLostError,
    SweepLimitError,
    TransientError,
)
from syncd.lanes import events
from syncd.lanes.events import Event, Failed
from syncd.lanes.machine import (
    MOST_FRUITLESS,
    PAUSED_CHECK_S,
    PEER_CHECK_S,
    decide,
)
from syncd.lanes.situation import Decision, Hold, LaneRules, Situation, State
from syncd.telemetry.metrics import LANE_STATES
from tests.unit.lanes.test_machine import (
    EXAMPLES,
    FILM,
    GOAL,
    LIVE,
    NOBODY,
    SOON,
    TTL_S,
    WORKING,
    after,
    failed,
    happenings,
    histories,
    rules,
)


def test_a_lane_without_a_stream_has_no_position_to_lose() -> None:
    """What only a change stream can meet is fatal for a lane that has none."""
    of = LaneRules("notes", TTL_S)
    for kind in (PositionLostError, EventTooLargeError, SweepLimitError):
        decision = failed(EXAMPLES[kind], Situation(), of)
        assert (decision.situation.state, decision.actions) == (State.FAILED, (events.ShowWaiting(),))


def lose(now: Situation, of: LaneRules = FILM) -> Decision:
    return failed(EXAMPLES[OplogTooShortError], after(WORKING, of, now), of)


def test_positions_that_are_lost_in_a_row() -> None:
    """nothing_silent: after three copies that came to nothing the lane stops loudly, says so once, and goes on when a
    person asks."""
    now = Situation()
    for _ in range(MOST_FRUITLESS):
        decision = lose(now)
        assert decision.actions == (events.ForgetPosition("digest"),)
        now = decision.situation
    decision = lose(now)
    assert decision.situation.state is State.FAILED
    assert decision.said == (events.PositionLost("286", "stopped"),)
    assert "`syncd snapshot film`" in decision.situation.error
    again = failed(EXAMPLES[OplogTooShortError], after(WORKING[:3], FILM, decision.situation), FILM)
    assert not again.said
    live = [*WORKING, events.CaughtUp(GOAL), events.Confirmed()]
    now = after(live, FILM, again.situation)
    assert lose(after([events.Ended()], FILM, now)).situation.fruitless == 1


def test_a_position_that_cannot_be_given_up() -> None:
    """nothing_lost: while Redis does not take it that a position is lost, that is one loss, however often it shows. The
    lane copies when Redis is back."""
    now, away = Situation(), EXAMPLES[TransientError]
    for _ in range(3 * MOST_FRUITLESS):
        decision = lose(now)
        assert decision.actions == (events.ForgetPosition("digest"),)
        now = decide(decision.situation, Failed(away, 0.5, keeps_position=True), FILM).situation
        assert (now.state, now.fruitless) == (State.WAITING, 0)


def test_a_position_that_is_lost_by_a_live_lane() -> None:
    """A loss behind work that was done is not one more copy that came to nothing."""
    now = lose(lose(Situation()).situation).situation
    assert now.fruitless == 2
    live = after([*WORKING, events.CaughtUp(GOAL), events.Confirmed()], FILM, now)
    assert failed(EXAMPLES[PositionLostError], live, FILM).situation.fruitless == 0


def test_a_change_that_is_too_large() -> None:
    """nothing_lost: the stream is taken without fields until the change has passed; where that does not help the
    position is lost."""
    thin = failed(EXAMPLES[EventTooLargeError], after(WORKING, FILM), FILM).situation
    assert not thin.takes_fields
    cut = failed(EXAMPLES[TransientError], after(WORKING, FILM, thin), FILM).situation
    assert not cut.takes_fields
    passed = after([*WORKING, events.LargeChangePassed()], FILM, cut)
    assert passed.takes_fields
    assert passed.run is not None
    assert passed.run.is_over
    lost = failed(EXAMPLES[EventTooLargeError], after(WORKING, FILM, cut), FILM)
    assert lost.actions == (events.ForgetPosition("digest"),)
    assert lost.situation.takes_fields


def test_a_sweep_that_is_held_back() -> None:
    """no_ghosts: nothing is copied or removed before a person has spoken, whatever happens meanwhile."""
    now = failed(EXAMPLES[SweepLimitError], after(WORKING, FILM), FILM).situation
    assert now.hold is Hold.SWEEP
    now = failed(EXAMPLES[TransientError], after([events.Tried()], FILM, now), FILM).situation
    held = decide(after([events.Tried()], FILM, now), events.LeaseTaken(), FILM)
    assert (held.situation.state, held.delay_s, held.actions) == (State.PAUSED, PAUSED_CHECK_S, ())
    assert "nothing was removed" in held.situation.error
    assert decide(held.situation, events.LeaseTaken(asked=True), FILM).actions == (events.Work(),)


def test_dead_letters_that_are_too_many() -> None:
    """nothing_silent: the lane is paused until there is room, also where Redis was away in between."""
    now = failed(EXAMPLES[DeadLettersFullError], after(WORKING, FILM), FILM).situation
    now = failed(SOON, after([events.Tried()], FILM, now), FILM).situation
    assert now.state is State.WAITING
    asked = decide(now, events.Tried(), FILM)
    assert asked.actions == (events.AskForRoom(),)
    full = decide(asked.situation, events.Room(False), FILM)
    assert (full.situation.state, full.delay_s) == (State.PAUSED, PAUSED_CHECK_S)
    assert "sync.dead_letters.keep" in full.situation.error
    free = decide(full.situation, events.Room(True), FILM)
    assert (free.situation.hold, free.actions) == (Hold.NOTHING, (events.Work(),))


def test_a_lane_that_stands_by() -> None:
    """A daemon that does not serve is checked sooner."""
    now = failed(EXAMPLES[FencedError], Situation(), FILM).situation
    assert decide(now, events.PeerSaid(""), FILM).delay_s == TTL_S / 4
    assert decide(now, events.PeerSaid("copies"), FILM).delay_s == PEER_CHECK_S


def test_a_lease_that_no_daemon_holds() -> None:
    """fenced: it is taken up again at once, and what was heard of keys stays where the lane itself had it."""
    lost = failed(NOBODY, after(WORKING, FILM), FILM)
    assert (lost.situation.state, lost.delay_s, lost.actions) == (State.WAITING, 0.0, ())
    waits = failed(NOBODY, after([events.Tried()], FILM, lost.situation), FILM)
    assert waits.delay_s > 0
    assert waits.actions == (events.StopListening(),)
    assert not waits.said


def test_the_same_trouble_is_one_line() -> None:
    """nothing_silent: a retry that meets what is known is counted, and not logged, however far it came meanwhile; once
    the lane was live it is."""
    said: list[Any] = []
    now = Situation()
    for text, before in (("away", []), ("away", WORKING), ("refused", []), ("away", []), ("away", LIVE)):
        decision = failed(TransientError("mongo", text), after(before, FILM, now), FILM)
        said.append(decision.said[0])
        now = decision.situation
    assert [one.is_news for one in said] == [True, False, True, True, True]


@given(histories, rules, happenings)
def test_a_stopped_lane_stays_so(history: list[Event], of: LaneRules, late: Event) -> None:
    """fenced: nothing brings a lane back that was stopped."""
    now = after([*history, events.Stopped()], of)
    assert decide(now, late, of) == Decision(now)


def test_people_see_the_states_that_the_metric_knows() -> None:
    """A sweep is shown as a part of the snapshot."""
    assert {state.shown for state in State} == set(LANE_STATES)


def states(*steps: list[Event]) -> list[tuple[str, int]]:
    """State and lost positions in a row after each step."""
    now, seen = Situation(), []
    for step in steps:
        now = after(step, FILM, now)
        seen.append((now.state.value, now.fruitless))
    return seen


def fails(kind: type[Exception]) -> list[Event]:
    return [Failed(EXAMPLES[kind], 0.0)]


def test_the_traces_that_the_module_tells() -> None:
    """The two traces in the header of the machine, line by line."""
    begin: list[Event] = [*WORKING[:3], events.Entered(copies=True)]
    assert states(
        begin, fails(TransientError), begin, fails(OplogTooShortError), begin,
        [events.SweepBegan(), events.Copied(GOAL)], [events.CaughtUp("0000000600000000")],
        [events.CaughtUp(GOAL)], [events.Confirmed()], fails(PositionLostError),
    ) == [
        ("snapshot", 0), ("waiting", 0), ("snapshot", 0), ("waiting", 1), ("snapshot", 1), ("catching_up", 1),
        ("catching_up", 1), ("catching_up", 1), ("live", 1), ("waiting", 0),
    ]  # fmt: skip
    assert states(
        [events.Tried(), *fails(FencedError)], [events.PeerSaid("copies")], [*begin, events.SweepBegan()],
        fails(SweepLimitError), [events.Tried(), events.LeaseTaken()], [events.Tried(), events.LeaseTaken(asked=True)],
        [events.Started(), events.Entered(copies=True)],
    ) == [
        ("standby", 0), ("standby", 0), ("sweep", 0), ("paused", 0), ("paused", 0), ("paused", 0), ("snapshot", 0),
    ]  # fmt: skip
