"""The apply log: what has to reach Redis, what is on its way, what Redis refused, and how far all is confirmed. Pure.

Work comes in by `add`. `next` says what has to be done now; a driver does it and reports the result:

    BUILD     make the writes of a call             -> built, or divided where it must be split
    SEND      send them, and the position behind    -> launched, before anything is on the wire
    RECEIVE   wait for the reply to the oldest call -> answered

A call goes through these states. Only what Redis holds is durable: the position of the last call that was applied.

    TO_BUILD --built--> BUILT --launched--> IN_FLIGHT --applied--> (confirmed)
        ^                 |                     |
        +-----------------+---------------------+  a call was refused, or failed: this one, or one before it

Invariants:

 1. Calls are sent in the order in which their work came, and confirmed in that order.
 2. `confirmed` is behind a call only when Redis has applied it, and all calls before it.
 3. After a refusal nothing is sent until the calls behind it have answered, each that it was left out. Then the refused
    call is built again, before them. So nothing is confirmed that was refused and not built again.
 4. A call is built when all before it were sent, and sent as it was built. A refusal before it undoes the build: what
    it was built on may be read again, later.
 5. What a call covers counts from when it is sent: nothing older is built behind it (see watermarks). It is entered
    before anything is on the wire, so who reads the horizon because of what Redis shows finds it there.
 6. The read watermark of the position never goes back, and moves with the read that it is of.
 7. In a cluster a call has a part on each node. Where only some are applied, it counts as failed: what may show is
    answered by reads. So does one that is applied behind it, on nodes that had no part of the refused call.
 8. At most MOST_IN_FLIGHT calls are in flight. What waits is one piece of work, what a refusal takes back, and halves.

A copy beside a stream. Document `a` changes at 3 and at 9.

    chunk read at 5         {a: as of 3}     BUILD: nothing newer was written
    launched, IN_FLIGHT                      range watermark 5, horizon 5
    window 9                {a}              BUILD: 9 > 5, so the event is applied as it is; launched: `a` written at 9
    chunk answers: refused                   a key of it holds another type
    window answers: left out                 position back before the chunk, range watermark back; horizon stays
    chunk                   BUILD again      `a` was written at 9 > 5: left out. The refused key: a dead letter
    launched, window BUILD again, launched   in the order of before
    both applied                             confirmed: behind 9, read watermark 5

A crash between two calls. The window of 4..6 is answered by a read at 8; the one of 7 follows.

    window 4..6 applied                      Redis holds position 6, read watermark 8, documents as of 8
    window 7 was sent, the daemon dies       it may be applied or not: Redis knows, in one step with its position
    next run, not applied                    position 6, read watermark 8 = its range watermark
    change 7 comes again    BUILD            7 <= 8: what shows may be later, so it is read, at or after 8
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from syncd.errors import InvariantError, ProjectionError
from syncd.stores.mongo.times import ZERO, Moment
from syncd.to_redis.apply.watermarks import Coverage, Watermarks

if TYPE_CHECKING:
    from syncd.stores.mongo.store import Document
    from syncd.stores.redis.records.position import Position
    from syncd.stores.redis.records.refreshes import JoinedPosition

MOST_IN_FLIGHT = 2
"""Calls. A third would gain nothing more, and the application's reads wait behind all that are there at once."""
NOTHING = Coverage()


class PieceOfWork(Protocol):
    """What the log has to know of a piece of work."""

    def after(self, position: Position) -> Position:
        """The position when it is applied on top of `position`."""


W = TypeVar("W", bound=PieceOfWork)
P = TypeVar("P")


class Do(Enum):
    """What a driver has to do."""

    BUILD = auto()
    SEND = auto()
    RECEIVE = auto()


class Answer(Enum):
    """What Redis says to a call."""

    APPLIED = auto()
    REFUSED = auto()
    """Nothing is written."""
    FAILED = auto()
    """Some of it is written perhaps, and the position not."""
    LEFT_OUT = auto()
    """Nothing is written, because the call before was not applied."""


class CallState(Enum):
    """How far a call is."""

    TO_BUILD = auto()
    BUILT = auto()
    IN_FLIGHT = auto()
    CONFIRMED = auto()


@dataclass(slots=True, eq=False)
class Call(Generic[W, P]):
    """Work, how far it is, and what earlier attempts have shown of it."""

    work: W
    begun: float = 0.0
    """The driver's clock when the work came."""
    state: CallState = CallState.TO_BUILD
    payload: P | None = None
    """What was built last."""
    covers: Coverage = NOTHING
    before: Position | None = None
    after: Position | None = None
    forget: Moment = ZERO
    """Chunks behind this call are of this time or later."""
    refusals: Sequence[tuple[int, str]] = ()
    """Of the last attempt: number of the write and reason."""
    dead_letters: dict[tuple[str, str], tuple[str, str, str]] = field(default_factory=dict)
    """Document and projection that Redis does not take, with reason, detail, and which of several keys it is about:
    written as dead letters."""
    must_read: set[str] = field(default_factory=set)
    """Documents whose change was refused, because the key was not there."""
    unfit: ProjectionError | None = None
    """Why its only change or document cannot be applied."""

    def undo(self) -> None:
        """It has to be built again."""
        self.state, self.covers = CallState.TO_BUILD, NOTHING


class ApplyLog(Generic[W, P]):
    """Of one run of a lane, used by its thread."""

    def __init__(self, position: Position, *, several: bool = False) -> None:
        """`position`: as it is stored. `several`: a call has a part for each node of a cluster. Each node leaves out
        what follows on a part of its own that it did not apply; others may apply theirs."""
        self._several = several
        self.watermarks = Watermarks(position.read_watermark, position.time, copying=position.is_copying)
        self.position = self.confirmed = position
        """Behind everything that was sent, and behind everything that Redis applied."""
        self._waiting: deque[Call[W, P]] = deque()
        self._in_flight: deque[Call[W, P]] = deque()
        self._refused: list[Call[W, P]] = []
        """The call that was refused, with those behind it that have answered."""

    def add(self, work: W, begun: float = 0.0) -> None:
        """Something to apply, behind all that came before."""
        self._waiting.append(Call(work, begun))

    def next(self, *, drain: bool = False) -> tuple[Do, Call[W, P]] | None:
        """What to do now; None: there is room for more work. `drain`: None only when all is confirmed."""
        if self._refused:
            return Do.RECEIVE, self._in_flight[0]
        if not self._waiting:
            return (Do.RECEIVE, self._in_flight[0]) if drain and self._in_flight else None
        call = self._waiting[0]
        if call.state is CallState.TO_BUILD:
            return Do.BUILD, call
        if len(self._in_flight) >= MOST_IN_FLIGHT:
            return Do.RECEIVE, self._in_flight[0]
        return Do.SEND, call

    def built(self, call: Call[W, P], payload: P, covers: Coverage) -> None:
        """What a call writes, and what shows then."""
        self._expect(Do.BUILD, call)
        call.state, call.payload, call.covers = CallState.BUILT, payload, covers
        call.refusals = ()

    def divided(self, call: Call[W, P], parts: Sequence[W]) -> None:
        """A call was too big to be built: its parts take its place."""
        self._expect(Do.BUILD, call)
        self._waiting.popleft()
        calls = [Call[W, P](part, call.begun) for part in parts]
        calls[-1].forget = call.forget
        self._waiting.extendleft(reversed(calls))

    def launched(self, call: Call[W, P]) -> Position:
        """A call is about to be sent: the position to send with it."""
        self._expect(Do.SEND, call)
        before = self.position
        after = call.work.after(before)
        if (read := call.covers.latest_read) > after.read_watermark:
            after = replace(after, read_watermark=read)
        call.before, call.after, call.state = before, after, CallState.IN_FLIGHT
        self.position = after
        self._waiting.popleft()
        self._in_flight.append(call)
        self.watermarks.sent(call.covers)
        return after

    def answered(self, answer: Answer, refusals: Sequence[tuple[int, str]] = ()) -> Call[W, P]:
        """The reply to the oldest call, which is returned: it is confirmed if it was applied. `refusals`: number of
        each write that was refused, or that failed, and why."""
        call = self._in_flight[0]
        if (answer is Answer.LEFT_OUT) is not bool(self._refused) and not (self._several and self._refused):
            raise InvariantError(f"a call was {answer.name.lower()} out of its order")
        self._in_flight.popleft()
        if answer is Answer.APPLIED and not self._refused:
            self._confirm(call)
            return call
        call.refusals = refusals
        self._refused.append(call)
        if answer in (Answer.FAILED, Answer.APPLIED):
            self._keep_watermark(call)
        if not self._in_flight:
            self._take_back()
        return call

    def _keep_watermark(self, call: Call[W, P]) -> None:
        """A part of a call is written perhaps. Redis keeps how late that may be as its read watermark, and so do we."""
        first = self._refused[0]
        before, after = first.before, call.after
        if before is None or after is None:
            raise InvariantError("a call has failed that was not sent")
        latest = max(before.read_watermark, after.time, after.read_watermark)
        first.before = replace(before, read_watermark=latest)
        self.watermarks.may_show(latest)

    def _confirm(self, call: Call[W, P]) -> None:
        if call.after is None:
            raise InvariantError("a call is confirmed that was not sent")
        self.confirmed, call.state = call.after, CallState.CONFIRMED
        self.watermarks.applied()
        if self.watermarks.copying and not call.after.is_copying:
            self.watermarks.end_copy()
        if call.forget > ZERO:
            self.watermarks.forget_written(call.forget)

    def _take_back(self) -> None:
        """Nothing is in flight any more: the refused call comes first again."""
        before = self._refused[0].before
        if before is None:
            raise InvariantError("a call was refused that was not sent")
        self.position = before
        self.watermarks.left_out()
        self._waiting.extendleft(reversed(self._refused))
        self._refused = []
        for call in self._waiting:
            call.undo()

    def chunks_from(self, time: Moment) -> None:
        """Chunks whose work comes from here on are of this time or later. What the stream wrote before is needed until
        those that came already are applied."""
        last = self._waiting[-1] if self._waiting else self._in_flight[-1] if self._in_flight else None
        if last is None:
            self.watermarks.forget_written(time)
        else:
            last.forget = max(last.forget, time)

    def idle(self, token: Document, time: Moment) -> None:
        """The stream has nothing up to here, behind all that it brought: stored with the next call."""
        self._restate(token=token, time=max(time, self.position.time))

    def joined_idle(self, joined: JoinedPosition) -> None:
        """The same of the stream of a joined collection."""
        self._restate(joined=joined)

    def _restate(self, **changes: Any) -> None:
        if self._waiting:
            return  # behind work that is not sent yet; it comes again with the next empty reply
        self.position = replace(self.position, **changes)
        if self._in_flight:
            self._in_flight[-1].after = self.position
        else:
            self.confirmed = self.position

    def witness(self, entry: str) -> None:
        """An entry of the oplog that the position has passed: stored with the next call."""
        self.position = replace(self.position, witness=entry)

    def give_up(self) -> None:
        """The run ends: what is not in flight is not sent any more."""
        self._waiting.clear()

    def _expect(self, do: Do, call: Call[W, P]) -> None:
        if self.next() != (do, call):
            raise InvariantError(f"{do.name} was not the next thing that the apply log wants done")
