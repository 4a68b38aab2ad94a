"""What happens to a lane, and what it is to do then: the values that pass between a lane and its machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar, dataclass_transform

from syncd.stores.mongo.times import ZERO, Moment

Kind = TypeVar("Kind")


@dataclass_transform(frozen_default=True)
def _value(kind: type[Kind]) -> type[Kind]:
    """A frozen value: two with the same content are equal."""
    return dataclass(frozen=True, slots=True)(kind)


# What happens.


@_value
class Tried:
    """The lane begins an attempt."""


@_value
class Room:
    """The answer to AskForRoom: whether another dead letter may be kept, or a person asks for something."""

    is_there: bool


@_value
class LeaseTaken:
    """The lease is ours. `asked`: a person wants a copy; `is_gone`: the position says that the collection is gone, and
    that nothing may begin before a person asks."""

    asked: bool = False
    is_gone: bool = False


@_value
class Started:
    """A run begins."""


@_value
class Entered:
    """The run knows what is to be done: a copy, where `copies`, or the sweep of one, where `sweeps`; else what came
    since the position. `goal`: how far the source has to be read before the lane is live."""

    copies: bool = False
    sweeps: bool = False
    goal: Moment = ZERO
    reason: str = ""


@_value
class SweepBegan:
    """All documents are copied."""


@_value
class Copied:
    """The copy is done, its sweep too. `goal`: see Entered."""

    goal: Moment


@_value
class Progressed:
    """Something new is in the target."""


@_value
class CaughtUp:
    """The source has nothing more at present, and was read up to `reached`."""

    reached: Moment


@_value
class AllMerged:
    """Of a contract that goes both ways: all is merged that waited when the stream had caught up."""


@_value
class Confirmed:
    """All that the source had is in the target, and the lease is still ours."""


@_value
class FellBehind:
    """There is a gap in what the source reported."""


@_value
class CopyAsked:
    """A person, or the lane itself, wants a copy: the run has to end for it."""


@_value
class LargeChangePassed:
    """A run without the fields of documents is past the change that was too large with them."""


@_value
class Ended:
    """The run ended without an error."""


@_value
class Failed:
    """An error ended the attempt, in its run or before it. `chance`: from 0 to below 1, so that lanes that fail
    together do not come back together. `keeps_position`: the lane was to give it up, and could not."""

    error: Exception
    chance: float
    keeps_position: bool = False


@_value
class PeerSaid:
    """The answer to AskPeer: why the other daemon does not serve; empty where it does."""

    complaint: str


@_value
class Stopped:
    """The lane was asked to stop, and has."""


Event: TypeAlias = (
    Tried | Room | LeaseTaken | Started | Entered | SweepBegan | Copied | Progressed | CaughtUp | AllMerged | Confirmed
    | FellBehind | CopyAsked | LargeChangePassed | Ended | Failed | PeerSaid | Stopped
)  # fmt: skip


# What the lane is to do.


@_value
class Work:
    """Go on with the attempt."""


@_value
class AskForRoom:
    """Count the dead letters, and look for requests, before anything else."""


@_value
class Confirm:
    """Wait for what is on its way to the target, and ask whether the lease is still ours."""


@_value
class ForgetPosition:
    """Give the position up. `then`: see Position.next."""

    then: str


@_value
class AskPeer:
    """Ask whether the daemon that holds the lease serves. `contract`: whose lease it is, where it is another one's."""

    contract: str


@_value
class StopListening:
    """Another daemon listens to keyspace events, or did last: what this one heard is of no more use."""


@_value
class LearnNumber:
    """MongoDB has seen a write of this number."""

    seen: int


@_value
class CountDeadLetters:
    """Count the dead letters that wait."""


@_value
class ShowWaiting:
    """Count what waits, and show it while the lane cannot work."""


Action: TypeAlias = (
    Work
    | AskForRoom
    | Confirm
    | ForgetPosition
    | AskPeer
    | StopListening
    | LearnNumber
    | CountDeadLetters
    | ShowWaiting
)


# What is logged and counted.


@_value
class Interrupted:
    """The run ended, and another one follows. `is_news`: whether the error differs from the one before."""

    why: str
    message: str
    is_news: bool


@_value
class LeaseLost:
    """The lease was ours, or no daemon has it."""

    message: str


@_value
class DeadLettersFull:
    """No more dead letters are kept."""

    message: str


@_value
class SweepHeldBack:
    """A sweep would have removed too much."""

    message: str


@_value
class PositionLost:
    """MongoDB cannot go on from the position. `action`: what the lane does then."""

    message: str
    action: str


Said: TypeAlias = Interrupted | LeaseLost | DeadLettersFull | SweepHeldBack | PositionLost
