"""What happens to a lane, and what it is told to do then: the words between a lane and its machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from syncd.stores.mongo.times import ZERO, Moment

# What happens.


@dataclass(frozen=True, slots=True)
class Tried:
    """The lane begins an attempt."""


@dataclass(frozen=True, slots=True)
class Room:
    """The answer to AskForRoom: whether another dead letter may be kept, or a person asks for something."""

    is_there: bool


@dataclass(frozen=True, slots=True)
class Held:
    """The lease is ours. `asked`: a person wants a copy; `is_gone`: the position says that the collection is gone, and
    that nothing may begin before a person asks."""

    asked: bool = False
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A run begins."""


@dataclass(frozen=True, slots=True)
class Entered:
    """The run knows what is to be done: a copy, where `copies`, or the sweep of one, where `sweeps`; else what came
    since the position. `goal`: how far the source has to be read before the lane is live."""

    copies: bool = False
    sweeps: bool = False
    goal: Moment = ZERO
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SweepBegan:
    """All documents are copied."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The copy is done, its sweep too. `goal`: see Entered."""

    goal: Moment


@dataclass(frozen=True, slots=True)
class Progressed:
    """Something new is in the target."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The source has nothing more at present, and was read up to `reached`."""

    reached: Moment


@dataclass(frozen=True, slots=True)
class Merged:
    """Of a contract that goes both ways: all is merged that waited when the stream had caught up."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """All that the source had is in the target, and the lease is still ours."""


@dataclass(frozen=True, slots=True)
class FellBehind:
    """There is a gap in what the source told."""


@dataclass(frozen=True, slots=True)
class CopyAsked:
    """A person, or the lane itself, wants a copy: the run has to end for it."""


@dataclass(frozen=True, slots=True)
class LargeChangePassed:
    """A run without the fields of documents is past the change that was too large with them."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The run ended without an error."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An error ended the attempt, in its run or before it. `chance`: from 0 to below 1, so that lanes that fail
    together do not come back together."""

    error: Exception
    chance: float


@dataclass(frozen=True, slots=True)
class PeerSaid:
    """The answer to AskPeer: why the other daemon does not serve; empty where it does."""

    complaint: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The lane was told to stop, and has."""


Event: TypeAlias = (
    Tried | Room | Held | Started | Entered | SweepBegan | Copied | Progressed | CaughtUp | Merged | Confirmed
    | FellBehind | CopyAsked | LargeChangePassed | Ended | Failed | PeerSaid | Stopped
)  # fmt: skip


# What the lane is to do.


@dataclass(frozen=True, slots=True)
class Work:
    """Go on with the attempt."""


@dataclass(frozen=True, slots=True)
class AskForRoom:
    """Count the dead letters, and look for requests, before anything else."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Wait for what is on its way to the target, and ask whether the lease is still ours."""


@dataclass(frozen=True, slots=True)
class ForgetPosition:
    """Give the position up. `then`: see Position.next."""

    then: str


@dataclass(frozen=True, slots=True)
class AskPeer:
    """Ask whether the daemon that holds the lease serves. `contract`: whose lease it is, where it is another one's."""

    contract: str


@dataclass(frozen=True, slots=True)
class StopListening:
    """Another daemon listens to keyspace events, or did last: what was heard is of no more use."""


@dataclass(frozen=True, slots=True)
class LearnNumber:
    """MongoDB has seen a write of this number."""

    seen: int


@dataclass(frozen=True, slots=True)
class CountLetters:
    """See how many dead letters wait."""


@dataclass(frozen=True, slots=True)
class Look:
    """See what waits, so that people see it while the lane cannot work."""


Action: TypeAlias = (
    Work | AskForRoom | Confirm | ForgetPosition | AskPeer | StopListening | LearnNumber | CountLetters | Look
)


# What is logged and counted.


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run ended, and another one follows. `is_news`: whether it is not the same trouble as before."""

    why: str
    message: str
    is_news: bool


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The lease was ours, or nobody has it."""

    message: str


@dataclass(frozen=True, slots=True)
class LettersFull:
    """No more dead letters are kept."""

    message: str


@dataclass(frozen=True, slots=True)
class SweepHeldBack:
    """A sweep would have removed too much."""

    message: str


@dataclass(frozen=True, slots=True)
class PositionLost:
    """MongoDB cannot go on from the position. `action`: what becomes of the lane."""

    message: str
    action: str


Said: TypeAlias = Interrupted | LeaseLost | LettersFull | SweepHeldBack | PositionLost
