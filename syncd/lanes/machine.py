"""What a lane does next. Pure: no clock, no server, no random number but the one that it is given.

A lane makes one run after another, each from the lease to the first error. The chain of a run:

    starting -> snapshot -> sweep -> catching_up -> live

A run goes straight to `catching_up` where the position says that all is copied, and always from Redis to MongoDB. A gap
in keyspace events takes the lane from `live` back to `catching_up`. An error ends the run, and leaves the lane in

    waiting    it may pass by itself: tried again with growing pauses, from the stored position
    standby    another daemon holds the lease: the lane asks again soon
    paused     a person must say how to go on, or has paused the contract: the lane checks every PAUSED_CHECK_S
    failed     a person must fix something; tried again all the same, so that no restart is needed afterwards

and `stopped` is the end. Only what the position in Redis holds is durable: `snapshot` and `sweep` are its phase, and
`paused` because the collection is gone is its `next`. All else is in memory. A lane that starts again is `starting`,
the position says where in the chain it goes on, and every run must reach `live` again.

A copy during which Redis goes away, and then the oplog moves on too far:

    event                                  state          delay     fruitless  what the lane is to do
    Tried, LeaseTaken, Started             starting       -         0          Work
    Entered(copies)                        snapshot       -         0
    Failed(TransientError)                 waiting        < 0.4 s   0          ShowWaiting
    Tried, LeaseTaken, Started, Entered    snapshot       -         0          the ranges that are left
    Failed(OplogTooShortError)             waiting        0         1          ForgetPosition(digest)
    Tried, LeaseTaken, Started, Entered    snapshot       -         1          what differs
    SweepBegan, Copied(goal 7)             catching_up    -         1
    CaughtUp(reached 6)                    catching_up    -         1          (reads of the copy are newer than that)
    CaughtUp(reached 7)                    catching_up    -         1          Confirm
    Confirmed                              live           -         1
    Failed(PositionLostError)              waiting        0         0          ForgetPosition(digest)

Two daemons, and a sweep that would remove too much:

    Tried, Failed(FencedError of b)        standby        2.5 s     0          AskPeer
    PeerSaid("copies")                     standby        1 s       0          (asks sooner while b does not serve)
    Tried, LeaseTaken, ..., SweepBegan     sweep          -         0
    Failed(SweepLimitError)                paused         2 s       0          nothing was removed
    Tried, LeaseTaken                      paused         2 s       0          until a person asks for a copy
    Tried, LeaseTaken(asked)               paused         -         0          Work
    Started, Entered                       snapshot       -         0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from syncd.errors import (
    CollectionGoneError,
    DeadLettersFullError,
    EventTooLargeError,
    FencedError,
    LaterNumberError,
    PausedError,
    PositionLostError,
    RefusedError,
    SweepLimitError,
    SyncdError,
    TransientError,
    UnknownError,
)
from syncd.lanes import events
from syncd.lanes.events import Event
from syncd.lanes.situation import Decision, Hold, LaneRules, Run, Situation, State
from syncd.stores.redis.records.position import DIGEST, KEEP, PAUSE, PURGE, SWEEP, allowed

PAUSED_CHECK_S = 2.0
"""How often a lane that waits for a person checks whether one has answered."""
PEER_CHECK_S = 1.0
"""How soon a lane that stands by asks again whether a daemon serves that has not said so yet."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.4, 10.0
"""After an error that may pass: up to so long after the first, twice that after the next, and so on. Each pause is
drawn by chance, so that lanes that failed together do not come back together."""
SOON_S = 1.0
"""Longest pause at a Redis that is not up, or loads its data: readers wait for the lane behind it."""
UNKNOWN_RETRY_S = 1.0
"""An error that syncd does not know, and a login that is refused, may pass at once, or never: first so long, then twice
that, and so on."""
FATAL_RETRY_S = 30.0
"""Even what only a person can fix is tried again, so that no restart is needed afterwards."""
MOST_DOUBLED = 16
"""A pause is doubled so often at most: after a long outage the power of two would not fit a number."""
MOST_FRUITLESS = 3
"""Lost positions in a row without having been live, after which the lane stops loudly."""


def decide(now: Situation, event: Event, rules: LaneRules) -> Decision:
    """Decide what a lane does next; the only place that does."""
    if now.state is State.STOPPED:
        return Decision(now)
    decider: Callable[[Situation, Any, LaneRules], Decision] = _DECIDERS[type(event)]
    return decider(now, event, rules)


def _enter(now: Situation, state: State, error: str = "", **changes: Any) -> Situation:
    return replace(now, state=state, error=error, **changes)


# An attempt, up to its run.


def _tried(now: Situation, event: events.Tried, rules: LaneRules) -> Decision:
    is_full = now.hold is Hold.DEAD_LETTERS
    return Decision(replace(now, run=None), actions=(events.AskForRoom() if is_full else events.Work(),))


def _room(now: Situation, event: events.Room, rules: LaneRules) -> Decision:
    if event.is_there:
        return Decision(replace(now, hold=Hold.NOTHING, why_held=""), actions=(events.Work(),))
    return _paused(now, now.why_held)


def _lease_taken(now: Situation, event: events.LeaseTaken, rules: LaneRules) -> Decision:
    if event.asked:
        now = replace(now, hold=Hold.NOTHING, why_held="", takes_fields=True)
    elif now.hold is Hold.SWEEP:
        return _paused(now, now.why_held)
    elif event.is_gone:
        remedy = f"`syncd snapshot {rules.contract}` copies what is there now"
        return _paused(now, f"the collection is gone; {remedy}")
    return Decision(now, actions=(events.Work(),))


def _paused(now: Situation, why: str) -> Decision:
    return Decision(_enter(now, State.PAUSED, why), PAUSED_CHECK_S, enters=True)


def _peer_said(now: Situation, event: events.PeerSaid, rules: LaneRules) -> Decision:
    return Decision(now, min(rules.lease_ttl_s / 4, PEER_CHECK_S if event.complaint else math.inf))


def _stopped(now: Situation, event: events.Stopped, rules: LaneRules) -> Decision:
    return Decision(_enter(now, State.STOPPED, run=None), enters=True)


# A run.


def _started(now: Situation, event: events.Started, rules: LaneRules) -> Decision:
    return Decision(replace(now, run=Run()))


def _entered(now: Situation, event: events.Entered, rules: LaneRules) -> Decision:
    state = State.SNAPSHOT if event.copies else State.SWEEP if event.sweeps else State.CATCHING_UP
    return Decision(_enter(_noted(now, goal=event.goal), state), enters=True, reason=event.reason)


def _sweep_began(now: Situation, event: events.SweepBegan, rules: LaneRules) -> Decision:
    return Decision(_enter(now, State.SWEEP) if now.state is State.SNAPSHOT else now)


def _copied(now: Situation, event: events.Copied, rules: LaneRules) -> Decision:
    if now.state not in (State.SNAPSHOT, State.SWEEP):
        return Decision(now)
    return Decision(_behind(now, goal=event.goal), enters=True, reason="snapshot finished")


def _fell_behind(now: Situation, event: events.FellBehind, rules: LaneRules) -> Decision:
    is_there = now.state in (State.CATCHING_UP, State.LIVE)
    return Decision(_behind(now), enters=True) if is_there else Decision(now)


def _behind(now: Situation, **changes: Any) -> Situation:
    now = _noted(now, awaits_merge=False, is_merged=False, **changes)
    return _enter(now, State.CATCHING_UP)


def _caught_up(now: Situation, event: events.CaughtUp, rules: LaneRules) -> Decision:
    is_there = now.state is State.CATCHING_UP and now.run is not None and event.reached >= now.run.goal
    return Decision(now, actions=(events.Confirm(),) if is_there else ())


def _confirmed(now: Situation, event: events.Confirmed, rules: LaneRules) -> Decision:
    if now.run is None or now.state not in (State.CATCHING_UP, State.LIVE):
        return Decision(now)
    if rules.merges and not now.run.is_merged:
        return Decision(_noted(now, awaits_merge=True))
    return Decision(_enter(_noted(now, was_live=True), State.LIVE, last_error=""), enters=True)


def _merged(now: Situation, event: events.AllMerged, rules: LaneRules) -> Decision:
    awaited = now.run is not None and now.run.awaits_merge
    return Decision(_noted(now, is_merged=True) if awaited else now)


def _progressed(now: Situation, event: events.Progressed, rules: LaneRules) -> Decision:
    return Decision(_noted(now, progressed=True))


def _copy_asked(now: Situation, event: events.CopyAsked, rules: LaneRules) -> Decision:
    return Decision(_noted(now, is_over=True))


def _large_change_passed(now: Situation, event: events.LargeChangePassed, rules: LaneRules) -> Decision:
    return Decision(replace(_noted(now, is_over=True), takes_fields=True))


def _ended(now: Situation, event: events.Ended, rules: LaneRules) -> Decision:
    return Decision(_left(now))


def _noted(now: Situation, **changes: Any) -> Situation:
    """Of the run under way."""
    return now if now.run is None else replace(now, run=replace(now.run, **changes))


def _left(now: Situation) -> Situation:
    """What counts of a run that ended. A copy that has to begin again is no progress, however far it came."""
    was_live = now.run is not None and now.run.was_live
    return replace(now, run=None, fruitless=0 if was_live else now.fruitless)


# An error, and when to try again.


def _failed(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    """As the nearest class of the error in ANSWERS says. A position that was not given up will be lost once more."""
    if event.keeps_position:
        now = replace(now, fruitless=max(0, now.fruitless - 1))
    is_of_stream = isinstance(event.error, PositionLostError | EventTooLargeError | SweepLimitError)
    if is_of_stream and not rules.has_position:
        return _fatal(now, event, rules)
    answer = next(ANSWERS[kind] for kind in type(event.error).__mro__ if kind in ANSWERS)
    return answer(now, event, rules)


def _transient(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    is_soon = isinstance(event.error, TransientError) and event.error.soon
    # A run that gets some way again and again, and ends at the same place, waits for something.
    now = _counted(now, is_stuck=is_soon and str(event.error) == now.last_error)
    longest_s = SOON_S if is_soon else LONGEST_PAUSE_S
    pause_s = min(longest_s, event.chance * _doubled(FIRST_PAUSE_S, now.failures))
    return _interrupted(now, "transient", State.WAITING, str(event.error), pause_s)


def _later_number(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    assert isinstance(event.error, LaterNumberError)
    decision = _transient(now, event, rules)
    return decision._replace(actions=(events.LearnNumber(event.error.seen), *decision.actions))


def _unknown(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    now = _counted(now)
    pause_s = min(FATAL_RETRY_S, _doubled(UNKNOWN_RETRY_S, now.failures))
    why = "fatal" if isinstance(event.error, RefusedError) else "unknown"
    return _interrupted(now, why, State.FAILED, str(event.error), pause_s)


def _fatal(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    return _interrupted(now, "fatal", State.FAILED, str(event.error), FATAL_RETRY_S)


def _bug(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    message = f"unexpected {type(event.error).__name__}"
    return _interrupted(now, "bug", State.FAILED, message, FATAL_RETRY_S)


def _interrupted(now: Situation, why: str, state: State, message: str, delay_s: float) -> Decision:
    """The same error again needs no other line in the log; the count of restarts counts each."""
    said = events.Interrupted(why, message, is_news=message != now.last_error)
    left = _enter(_left(now), state, message, last_error=message)
    return Decision(left, delay_s, (events.ShowWaiting(),), (said,), enters=True)


def _counted(now: Situation, *, is_stuck: bool = False) -> Situation:
    """One more failure, in a row unless the run got anywhere."""
    progressed = now.run is not None and now.run.progressed and not is_stuck
    return replace(now, failures=1 if progressed else now.failures + 1)


def _doubled(first_s: float, failures: int) -> float:
    return first_s * 2.0 ** min(failures - 1, MOST_DOUBLED)


def _fenced(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    """Stand by for another daemon. Where no daemon holds the lease, the lane is not ready, and tries again at once."""
    error = event.error
    assert isinstance(error, FencedError)
    message, had_lease = str(error), now.run is not None
    is_said = had_lease or (not error.holder and message != now.error)
    said = (events.LeaseLost(message),) if is_said else ()
    # The daemon that holds the lease, or takes it next, listens, and compares everything first.
    stop = () if had_lease and not error.holder else (events.StopListening(),)
    if error.holder:
        ask = events.AskPeer(error.contract)
        standby = _enter(_left(now), State.STANDBY, message)
        return Decision(standby, rules.lease_ttl_s / 4, (*stop, ask), said, enters=True)
    now = _counted(now)
    pause_s = min(LONGEST_PAUSE_S, event.chance * _doubled(FIRST_PAUSE_S, now.failures))
    waiting = _enter(_left(now), State.WAITING, message)
    return Decision(waiting, pause_s if now.failures > 1 else 0.0, stop, said, enters=True)


def _dead_letters_full(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    """Wait for a person. What a person asks for is done meanwhile: a replay makes room."""
    message = str(event.error)
    said = () if message == now.error else (events.DeadLettersFull(message),)
    held = _enter(_left(now), State.PAUSED, message, hold=Hold.DEAD_LETTERS, why_held=message)
    return Decision(held, PAUSED_CHECK_S, (events.CountDeadLetters(),), said, enters=True)


def _paused_by_person(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    """Do nothing until a person resumes the contract. What was held back before is known still."""
    held = _enter(_left(now), State.PAUSED, str(event.error))
    return Decision(held, PAUSED_CHECK_S, (events.ShowWaiting(),), enters=True, reason="by a person")


def _sweep_limit(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    """Wait for a person: the removal may follow from a mistake in the contract."""
    message = str(event.error)
    held = _enter(_left(now), State.PAUSED, message, hold=Hold.SWEEP, why_held=message)
    return Decision(held, PAUSED_CHECK_S, said=(events.SweepHeldBack(message),), enters=True)


def _event_too_large(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    """Take the stream without the fields of documents; where that is done already, the position is lost."""
    if not now.takes_fields:
        return _position_lost(now, event, rules)
    return _interrupted(replace(now, takes_fields=False), "transient", State.WAITING, str(event.error), 0.0)


def _collection_gone(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    words = {"purge": allowed(PURGE, rules.fingerprint), "keep": KEEP, "pause": PAUSE}
    action = "paused" if rules.on_drop == "pause" else "resnapshot"
    return _forgotten(_left(now), event, words[rules.on_drop], action)


def _position_lost(now: Situation, event: events.Failed, rules: LaneRules) -> Decision:
    was_live = now.run is not None and now.run.was_live
    left = replace(_left(now), fruitless=0 if was_live else now.fruitless + 1)
    if rules.on_lost_position != "fail" and left.fruitless <= MOST_FRUITLESS:
        # Whether digests can show what differs is known when the next run begins.
        return _forgotten(left, event, DIGEST if rules.by_digests else SWEEP, "resnapshot")
    said = () if now.state is State.FAILED else (events.PositionLost(str(event.error), "stopped"),)
    message = f"{event.error}; `syncd snapshot {rules.contract}` copies everything again"
    return Decision(_enter(left, State.FAILED, message), PAUSED_CHECK_S, said=said, enters=True)


def _forgotten(now: Situation, event: events.Failed, then: str, action: str) -> Decision:
    message = str(event.error)
    waiting = _enter(now, State.WAITING, message, takes_fields=True)
    said = (events.PositionLost(message, action),)
    return Decision(waiting, 0.0, (events.ForgetPosition(then),), said, enters=True)


ANSWERS: dict[type[BaseException], Callable[[Situation, events.Failed, LaneRules], Decision]] = {
    FencedError: _fenced,
    LaterNumberError: _later_number,
    TransientError: _transient,
    CollectionGoneError: _collection_gone,
    PositionLostError: _position_lost,
    DeadLettersFullError: _dead_letters_full,
    SweepLimitError: _sweep_limit,
    PausedError: _paused_by_person,
    EventTooLargeError: _event_too_large,
    UnknownError: _unknown,
    RefusedError: _unknown,
    SyncdError: _fatal,
    Exception: _bug,
}
"""What follows from an error, by its nearest class that is here."""

_DECIDERS: dict[type, Callable[[Situation, Any, LaneRules], Decision]] = {
    events.Tried: _tried,
    events.Room: _room,
    events.LeaseTaken: _lease_taken,
    events.Started: _started,
    events.Entered: _entered,
    events.SweepBegan: _sweep_began,
    events.Copied: _copied,
    events.Progressed: _progressed,
    events.CaughtUp: _caught_up,
    events.AllMerged: _merged,
    events.Confirmed: _confirmed,
    events.FellBehind: _fell_behind,
    events.CopyAsked: _copy_asked,
    events.LargeChangePassed: _large_change_passed,
    events.Ended: _ended,
    events.Failed: _failed,
    events.PeerSaid: _peer_said,
    events.Stopped: _stopped,
}
