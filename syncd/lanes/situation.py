"""The situation of a lane: its state, and what of its past decides what comes next. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from syncd.lanes.events import Action, Said
from syncd.stores.mongo.times import ZERO, Moment


class State(Enum):
    """What a lane is doing."""

    STARTING = "starting"
    STANDBY = "standby"
    SNAPSHOT = "snapshot"
    SWEEP = "sweep"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    PAUSED = "paused"
    WAITING = "waiting"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def shown(self) -> str:
        """As the status shows it: the sweep is a part of the snapshot, and the phase is shown beside it."""
        return State.SNAPSHOT.value if self is State.SWEEP else self.value

    @property
    def works(self) -> bool:
        """Whether a run is at work, so that the lane has something to report."""
        return self in (State.SNAPSHOT, State.SWEEP, State.CATCHING_UP, State.LIVE)

    @property
    def is_away(self) -> bool:
        """Whether the lane does nothing, and will not before another daemon or a person has done something."""
        return self in (State.STANDBY, State.PAUSED, State.FAILED, State.STOPPED)

    @property
    def comes_up(self) -> bool:
        """Whether the lane may be live soon, without a person."""
        return self in (State.STARTING, State.WAITING) or (self.works and self is not State.LIVE)


class Hold(Enum):
    """What a person has to decide, where it is known in memory alone."""

    NOTHING = "nothing"
    DEAD_LETTERS = "dead letters"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Run:
    """What counts of the run under way. Each run begins with a new one, so that nothing is left of the one before."""

    progressed: bool = False
    """Whether it got anywhere."""
    was_live: bool = False
    is_over: bool = False
    """Whether it is to end, so that another one begins at once."""
    goal: Moment = ZERO
    """How far the source has to be read before the lane is live."""
    awaits_merge: bool = False
    """Of a lane with a merger: whether the stream was read to its end, behind the goal."""
    is_merged: bool = False
    """Whether, since then, all is merged that waited."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The state of a lane, and what of its past counts."""

    state: State = State.STARTING
    error: str = ""
    """Why, where the state is not a good one."""
    last_error: str = ""
    """What ended the run before, until the lane is live."""
    failures: int = 0
    """In a row, without progress between them: pauses grow with these."""
    fruitless: int = 0
    """Positions lost in a row, without having been live between them."""
    hold: Hold = Hold.NOTHING
    why_held: str = ""
    takes_fields: bool = True
    """Whether the stream brings fields of documents; not while a change comes that is too large with them."""
    run: Run | None = None
    """None before a run, and after it."""


@dataclass(frozen=True, slots=True)
class LaneRules:
    """What a contract and the settings say."""

    contract: str
    lease_ttl_s: float
    has_position: bool = False
    """Whether the lane has a position in MongoDB's change stream."""
    fingerprint: str = ""
    on_drop: str = "purge"
    on_lost_position: str = "resnapshot"
    by_digests: bool = False
    """Whether digests may show what differs after a lost position."""
    merges: bool = False
    """Whether the lane is live only when a merger has come as far as the stream."""


class Decision(NamedTuple):
    """What follows from an event."""

    situation: Situation
    delay_s: float = 0.0
    """Until the next attempt."""
    actions: tuple[Action, ...] = ()
    said: tuple[Said, ...] = ()
    enters: bool = False
    """Whether to record the state, also where it has not changed."""
    reason: str = ""
