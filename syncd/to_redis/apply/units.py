"""Units of work: what one atomic call applies, and the position behind it.

A unit says what came, and does not change. What became of it so far is in its call (see apply_log), and each build
begins with that: a unit is built again when Redis refused a part of it, or a call before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from syncd.errors import ProjectionError, why_unfit
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.change import (
    IN,
    AnsweredDeadLetters,
    BeginMatched,
    Changed,
    Dead,
    Hashed,
    Judged,
    Matched,
    MatchedIsWhole,
    OpenFeed,
    Write,
)
from syncd.stores.mongo.times import token_time
from syncd.stores.redis.records.position import Position
from syncd.to_redis.apply.apply_log import NOTHING, Call
from syncd.to_redis.apply.builder import Builder
from syncd.to_redis.apply.watermarks import Coverage
from syncd.to_redis.stream.numbering import NTH
from syncd.to_redis.stream.window import DATA_OPS, Window

OF_NO_KEY = (
    Dead, AnsweredDeadLetters, Changed, Hashed, OpenFeed, Matched, BeginMatched, MatchedIsWhole
)  # fmt: skip
Sources: TypeAlias = "dict[str, tuple[int | None, int]]"
UnitCall: TypeAlias = "Call[Unit, Any]"


@dataclass(slots=True)
class Draft:
    """What a call would write, and what shows then."""

    writes: list[Write]
    covers: Coverage = NOTHING
    sources: Sources = field(default_factory=dict)
    """Digest and bucket of documents, where they came with the read."""


class Unit(ABC):
    """One call. `size` counts source changes or documents."""

    size = 0
    op = ""
    """Why a key goes with it: a word of REMOVAL_REASONS."""
    ends_replay = False
    """Whether all nodes of a cluster are to hear that a replay is written, see `levels`."""

    @abstractmethod
    def _draft(self, call: UnitCall) -> Draft | None: ...

    def after(self, position: Position) -> Position:
        """The position when this unit is applied on top of `position`."""
        return position

    def split(self) -> list[Unit]:
        """Two smaller units, where `build` gave None."""
        raise NotImplementedError

    def unfit(self, call: UnitCall, error: Exception) -> None:
        """The build of the one change or document that this unit holds has raised an error: note in `call` that the
        next build is without it. Raises the error where it holds none, or where this has helped nothing."""
        raise error

    def build(self, call: UnitCall) -> Draft | None:
        """What to write, after all attempts before; None when the unit is too big for one read and must be split."""
        draft = self._draft(call)
        if draft is not None and call.dead_letters:
            draft.writes = [self._or_dead_letter(call, write) for write in draft.writes]
        return draft

    def _or_dead_letter(self, call: UnitCall, write: Write) -> Write:
        if isinstance(write, OF_NO_KEY) or (isinstance(write, Judged) and write.state != IN):
            return write  # an entry about a document that left holds nothing of it
        why = call.dead_letters.get((write.ident, write.shape.name))
        return self.dead(write, *why) if why else write

    def dead(self, write: Write, reason: str, detail: str, key: str = "") -> Dead:
        """A dead letter instead of a write. `key`: which of several keys does not fit."""
        assert not isinstance(write, OF_NO_KEY)
        own, stale = write.key or "", write.shape.stale(write.ident)
        return Dead(
            write.shape.name,
            write.ident,
            key or own,
            reason,
            detail,
            self._change_of(write.ident),
            own if stale is None else stale,
        )

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {}


class DocumentsUnit(Unit):
    """Whole documents. Instead of one that raises an error its dead letters are stored."""

    _builder: Builder

    def unfit(self, call: UnitCall, error: Exception) -> None:
        """The one document is given up; not twice, for then it was not the document."""
        if call.unfit is not None:
            raise error
        call.unfit = why_unfit(error)

    def _dead_letters(self, idents: Iterable[str], why: ProjectionError) -> list[Write]:
        dead_letters = self._builder.plan.dead_letters
        return [
            dead_letter
            for ident in idents
            for dead_letter in dead_letters(ident, why, self._change_of(ident))
        ]


class WindowUnit(Unit):
    """Consecutive changes of the stream."""

    op = "change"

    def __init__(self, window: Window, builder: Builder) -> None:
        self.window, self._builder = window, builder
        self.size = len(window.events)

    def _draft(self, call: UnitCall) -> Draft | None:
        if call.unfit is not None:
            return Draft(
                self._builder.dead_letters(self.window, call.unfit), Coverage(passed=self.window.time)
            )
        built = self._builder.window(self.window, call.must_read)
        return None if built is None else Draft(*built)

    def unfit(self, call: UnitCall, error: Exception) -> None:
        """What an event cannot say a read may; what is left then is a dead letter."""
        event = self.window.events[0]
        if call.unfit is not None or event["operationType"] not in DATA_OPS:
            raise error
        ident = encode_key_value(event["documentKey"]["_id"])
        if ident in call.must_read:
            call.unfit = why_unfit(error)
        call.must_read.add(ident)

    def _change_of(self, ident: str) -> dict[str, Any]:
        for event in reversed(self.window.events):
            if "documentKey" in event and encode_key_value(event["documentKey"]["_id"]) == ident:
                return event
        return {}

    def after(self, position: Position) -> Position:
        """Behind the window's last change."""
        window = self.window
        last = window.events[-1]
        return replace(
            position, token=window.token, event=last["_id"], nth=last.get(NTH, 0), time=window.time
        )

    def split(self) -> list[Unit]:
        """Two halves, each with its own position."""
        events, ahead = self.window.events, self.window.ahead
        middle = len(events) // 2
        last = events[middle - 1]
        first = Window(events[:middle], last["_id"], token_time(last["_id"]), ahead)
        second = Window(events[middle:], self.window.token, self.window.time, ahead)
        return [WindowUnit(part, self._builder) for part in (first, second)]


class DeadLettersUnit(Unit):
    """Dead letters of a unit that is not applied: as many as a contract has room for."""

    def __init__(self, dead_letters: list[Dead]) -> None:
        self._dead_letters = dead_letters

    def _draft(self, call: UnitCall) -> Draft:
        return Draft([*self._dead_letters])


class Step(Unit):
    """A new position, with what belongs to it."""

    def __init__(self, writes: Iterable[Write] = (), **changes: Any) -> None:
        self._writes, self._changes = writes, changes

    def _draft(self, call: UnitCall) -> Draft:
        return Draft([*self._writes])

    def after(self, position: Position) -> Position:
        """The position with the changed fields."""
        return replace(position, **self._changes)


class Replayed(Step):
    """Behind what no change of the stream brings again."""

    ends_replay = True
