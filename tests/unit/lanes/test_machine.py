"""The machine of a lane, from any history: nothing gets stuck, no failure looks live, pauses have an end."""

from __future__ import annotations

import inspect
from dataclasses import replace

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
    PAUSED_CHECK_S,
    SOON_S,
    decide,
)
from syncd.lanes.situation import Decision, LaneRules, Situation, State

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
