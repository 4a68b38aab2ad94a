"""The machine of a lane, from any history: nothing gets stuck, no failure looks live, pauses have an end."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd import errors
from syncd.errors import (
    CapabilityError,
    CollectionGoneError,
    ContractError,
    DeadLettersFullError,
    EventTooLargeError,
    FatalError,
    FencedError,
    InvariantError,
    LaterNumberError,
    OplogTooShortError,
    PausedError,
    PlatformError,
    PositionLostError,
    Problem,
    ProjectionError,
    RefusedError,
    RequestError,
    SettingsError,
    SlotMovedError,
    StoreError,
    SweepLimitError,
    SyncdError,
    TransientError,
    UncertainError,
    UnknownContractError,
    UnknownError,
    UnusableUriError,
    UriError,
)
from syncd.lanes import events
from syncd.lanes.events import Event, Failed
from syncd.lanes.machine import (
    ANSWERS,
    FATAL_RETRY_S,
    LONGEST_PAUSE_S,
    MOST_FRUITLESS,
    PAUSED_CHECK_S,
    PEER_CHECK_S,
    SOON_S,
    decide,
)
from syncd.lanes.situation import Decision, Hold, LaneRules, Situation, State
from syncd.telemetry.metrics import LANE_STATES

TTL_S = 10.0
GOAL = "0000000700000000"
EXAMPLES: dict[type[Exception], Exception] = {
    FencedError: FencedError("b holds the lease", "b"),
    LaterNumberError: LaterNumberError(9),
    SlotMovedError: SlotMovedError(),
    TransientError: TransientError("mongo", "no connection"),
    CollectionGoneError: CollectionGoneError("drop"),
    OplogTooShortError: OplogTooShortError("mongo", "286"),
    PositionLostError: PositionLostError("mongo", "280"),
    DeadLettersFullError: DeadLettersFullError("film", 3),
    PausedError: PausedError("paused by ann"),
    RequestError: RequestError("it is not paused"),
    UnknownContractError: UnknownContractError("film"),
    SweepLimitError: SweepLimitError("film", "9 of 10 keys"),
    EventTooLargeError: EventTooLargeError("mongo", "10334"),
    UnknownError: UnknownError("redis", "odd"),
    RefusedError: RefusedError("redis", "wrong password"),
    UnusableUriError: UnusableUriError("mongo", "no such scheme"),
    FatalError: FatalError("mongo", "no rights"),
    CapabilityError: CapabilityError("redis", "no search"),
    UncertainError: UncertainError("mongo", "was it written?"),
    StoreError: StoreError("redis", "odd"),
    ContractError: ContractError([Problem("film.yaml", 1, 1, "no key", "say one")]),
    SettingsError: SettingsError("SYNCD_HMAC_KEY is missing"),
    ProjectionError: ProjectionError("wrong_type", "title"),
    PlatformError: PlatformError("no server"),
    UriError: UriError("no port; say one"),
    SyncdError: SyncdError("odd"),
    InvariantError: InvariantError("a call was applied without the one before"),
    KeyError: KeyError("bug"),
}
NOBODY = FencedError("the lease is gone", "")
REFUSED = RefusedError("redis", "wrong password")
SOON = TransientError("redis", "LOADING", soon=True)

rules = st.builds(
    LaneRules,
    contract=st.just("film"),
    lease_ttl_s=st.sampled_from([1.0, TTL_S, 60.0]),
    has_position=st.booleans(),
    on_drop=st.sampled_from(["purge", "keep", "pause"]),
    on_lost_position=st.sampled_from(["resnapshot", "fail"]),
    by_digests=st.booleans(),
    merges=st.booleans(),
)
chances = st.floats(0.0, 1.0, exclude_max=True)
failures = st.builds(Failed, st.sampled_from([*EXAMPLES.values(), NOBODY, SOON]), chances)
happenings: st.SearchStrategy[Event] = st.one_of(
    failures,
    st.builds(events.Room, st.booleans()),
    st.builds(events.LeaseTaken, st.booleans(), st.booleans()),
    st.builds(events.Entered, st.booleans(), st.booleans(), st.just(GOAL)),
    st.builds(events.Copied, st.just(GOAL)),
    st.builds(events.CaughtUp, st.sampled_from(["0000000600000000", GOAL])),
    st.builds(events.PeerSaid, st.sampled_from(["", "copies"])),
    st.sampled_from(
        [
            events.Tried(), events.Started(), events.SweepBegan(), events.Progressed(), events.AllMerged(),
            events.Confirmed(), events.FellBehind(), events.CopyAsked(), events.LargeChangePassed(),
            events.Ended(),
        ]
    ),
)  # fmt: skip
WORKING: list[Event] = [events.Tried(), events.LeaseTaken(), events.Started(), events.Entered()]
LIVE: list[Event] = [
    *WORKING,
    events.CaughtUp(GOAL),
    events.Confirmed(),
    events.AllMerged(),
    events.Confirmed(),
]
histories = st.lists(
    happenings.map(lambda event: [event]) | st.sampled_from([WORKING, LIVE]), max_size=20
).map(lambda parts: [event for part in parts for event in part])


def after(history: list[Event], of: LaneRules, now: Situation | None = None) -> Situation:
    now = now or Situation()
    for event in history:
        now = decide(now, event, of).situation
    return now


def failed(error: Exception, now: Situation, of: LaneRules, chance: float = 0.999) -> Decision:
    return decide(now, Failed(error, chance), of)


FILM = LaneRules("film", TTL_S, has_position=True, fingerprint="f1", by_digests=True)


@given(histories, rules)
def test_no_history_leaves_a_lane_stuck(history: list[Event], of: LaneRules) -> None:
    """nothing_lost: whatever happened, an attempt in which nothing fails, and for which a person has spoken, ends
    live."""
    now = after(history, of)
    decision = decide(now, events.Tried(), of)
    if decision.actions == (events.AskForRoom(),):
        decision = decide(decision.situation, events.Room(True), of)
    assert events.Work() in decision.actions
    decision = decide(decision.situation, events.LeaseTaken(asked=True), of)
    assert events.Work() in decision.actions
    now = after([events.Started(), events.Entered(copies=True), events.SweepBegan()], of, decision.situation)
    assert now.state is State.SWEEP
    now = after([events.Copied(GOAL)], of, now)
    for merged in ([events.AllMerged()], []) if of.merges else ([],):
        assert now.state is State.CATCHING_UP
        asked = decide(now, events.CaughtUp(GOAL), of)
        assert asked.actions == (events.Confirm(),)
        now = after([events.Confirmed(), *merged], of, asked.situation)
    assert now.state is State.LIVE
    assert not now.error


@given(histories, rules, failures)
def test_no_failure_looks_live(history: list[Event], of: LaneRules, failure: Failed) -> None:
    """nothing_silent: behind any error the lane is in a state that is not ready without more, and says why."""
    decision = decide(after(history, of), failure, of)
    now = decision.situation
    assert now.state in (State.STANDBY, State.WAITING, State.PAUSED, State.FAILED)
    assert not now.state.works
    assert decision.enters
    assert now.error
    assert now.run is None


@given(
    histories, rules, st.sampled_from(["AllMerged", "Confirmed", "FellBehind", "Progressed", "SweepBegan"])
)
def test_what_a_thread_tells_late_changes_nothing(history: list[Event], of: LaneRules, late: str) -> None:
    """nothing_silent: behind the end of its run nothing that a thread of it reports makes a lane seem at work."""
    now = after([*history, Failed(NOBODY, 0.0)], of)
    assert after([getattr(events, late)()], of, now) == now


@given(histories, rules)
def test_only_a_lane_that_is_confirmed_is_live(history: list[Event], of: LaneRules) -> None:
    """nothing_silent: no event but that everything is in the target makes a lane live, and of a run alone that has
    nothing left to copy."""
    now = Situation()
    for event in history:
        before, now = now, decide(now, event, of).situation
        if now.state is State.LIVE and before.state is not State.LIVE:
            assert isinstance(event, events.Confirmed)
            assert before.state is State.CATCHING_UP
            assert before.run is not None
            assert not of.merges or before.run.is_merged


@given(histories, rules, failures)
def test_pauses_have_an_end(history: list[Event], of: LaneRules, failure: Failed) -> None:
    """bounded: no error keeps a lane longer than the longest of all pauses, nor makes it spin."""
    longest = max(FATAL_RETRY_S, of.lease_ttl_s / 4)
    now = after(history, of)
    for _ in range(3):
        decision = decide(now, failure, of)
        assert 0.0 <= decision.delay_s <= longest
        now = decision.situation


@given(
    chances,
    st.sampled_from([TransientError("mongo", "away"), UnknownError("redis", "odd"), REFUSED, SOON, NOBODY]),
)
def test_pauses_grow_and_begin_again(chance: float, error: Exception) -> None:
    """bounded: in a row of failures no pause is shorter than the one before, up to its longest, also behind thousands;
    and what got anywhere begins with the shortest."""
    now, pauses = Situation(), []
    for failures in (*range(20), 5000, 10**6):
        now = replace(after([events.Tried()], FILM, now), failures=failures)
        decision = failed(error, now, FILM, chance)
        now = decision.situation
        assert now.failures == failures + 1
        pauses.append(decision.delay_s)
    assert pauses == sorted(pauses)
    longest = {UnknownError: FATAL_RETRY_S, RefusedError: FATAL_RETRY_S}.get(
        type(error), SOON_S if error is SOON else LONGEST_PAUSE_S
    )
    assert pauses[-1] <= longest
    if chance > 0.01:
        assert pauses[-1] == longest
    got_on = after([*WORKING, events.Progressed()], FILM, now)
    if error is SOON:
        assert failed(error, got_on, FILM, chance).delay_s == pauses[-1], (
            "it gets to the same place each time"
        )
        got_on = after([*LIVE, events.Progressed()], FILM, now)
    assert failed(error, got_on, FILM, chance).delay_s == pauses[0]


EXPECTED = {
    FencedError: (State.STANDBY, TTL_S / 4, {events.StopListening, events.AskPeer}),
    LaterNumberError: (State.WAITING, None, {events.LearnNumber, events.ShowWaiting}),
    SlotMovedError: (State.WAITING, None, {events.ShowWaiting}),
    TransientError: (State.WAITING, None, {events.ShowWaiting}),
    CollectionGoneError: (State.WAITING, 0.0, {events.ForgetPosition}),
    OplogTooShortError: (State.WAITING, 0.0, {events.ForgetPosition}),
    PositionLostError: (State.WAITING, 0.0, {events.ForgetPosition}),
    DeadLettersFullError: (State.PAUSED, PAUSED_CHECK_S, {events.CountDeadLetters}),
    SweepLimitError: (State.PAUSED, PAUSED_CHECK_S, set()),
    PausedError: (State.PAUSED, PAUSED_CHECK_S, {events.ShowWaiting}),
    EventTooLargeError: (State.WAITING, 0.0, {events.ShowWaiting}),
    UnknownError: (State.FAILED, 1.0, {events.ShowWaiting}),
    RefusedError: (State.FAILED, 1.0, {events.ShowWaiting}),
}
"""State, delay and actions after a first error of each class; all others are fatal."""


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_each_error_has_an_answer(kind: type[Exception]) -> None:
    """nothing_silent: what follows from each class of errors."""
    decision = failed(EXAMPLES[kind], Situation(), FILM)
    state, delay_s, actions = EXPECTED.get(kind, (State.FAILED, FATAL_RETRY_S, {events.ShowWaiting}))
    assert decision.situation.state is state
    assert delay_s is None or decision.delay_s == delay_s
    assert {type(action) for action in decision.actions} == actions


def test_every_class_of_errors_is_among_these() -> None:
    """A new class of errors has to be put into this table."""
    classes = {
        one for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, Exception) and one.__module__ == errors.__name__
    }  # fmt: skip
    assert classes == EXAMPLES.keys() - {KeyError}
    assert all(issubclass(kind, Exception) for kind in ANSWERS)


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
