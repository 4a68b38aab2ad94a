"""A key and its document as both applications have made them, and what may become of each change.

It knows nothing of what syncd remembers: a change is new until the other side has had it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulation.both.contracts import BothKind
from tests.simulation.watcher import Broken

State = dict[str, Any] | None
"""Fields of the contract; None where there is no key, or no document."""


class Loss(NamedTuple):
    """A change that syncd has overwritten: some record must tell it."""

    side: str
    name: str
    value: Any


@dataclass
class Side:
    """One of both."""

    name: str
    state: State = None
    new: dict[str, Any] = field(default_factory=dict)
    """What the application wrote, and the other side has not had."""
    touched: set[str] = field(default_factory=set)
    """What the application wrote since both sides were the same; with "" where it deleted all of it."""
    is_deleted: bool = False
    """Whether the application has deleted what both sides had, and the other side does not know."""
    history: dict[str, list[Any]] = field(default_factory=dict)
    """Each value that a field has had, in order."""
    taken: dict[str, int] = field(default_factory=dict)
    """Which value of the other side's history a field got last."""

    def note(self, after: State) -> None:
        """It is this from now on."""
        for name, value in (after or {}).items():
            had = self.history.setdefault(name, [])
            if value not in had:
                had.append(value)
        self.state = after


class Pair:
    """Of one `_id`."""

    def __init__(self, kind: BothKind, is_recorded: Callable[[Loss], bool]) -> None:
        self._kind, self._is_recorded = kind, is_recorded
        self.redis, self.mongo = Side("redis"), Side("mongo")
        self.losses: list[Loss] = []
        self._was_same = False
        """Whether both were there and the same, since either was not there."""

    def _other(self, side: Side) -> Side:
        return self.mongo if side is self.redis else self.redis

    def application(self, side: Side, after: State, *, is_pending: bool = False) -> None:
        """An application has written. `is_pending`: behind a write of syncd's that is not agreed on yet. Of a document
        that goes then nobody can tell whether it was written."""
        before = side.state or {}
        if after is None and is_pending:
            self._other(side).touched.add("")
        if after is None and side is self.mongo:
            # After a kill nobody can tell a document that was made again from one that was not written.
            self.losses.clear()
        if after is None:
            side.is_deleted = side.is_deleted or (self._was_same and not is_pending)
            side.new.clear()
            side.touched |= {"", *before}
        else:
            side.is_deleted = False
            for name in before.keys() | after.keys():
                if before.get(name) != after.get(name):
                    side.new[name] = after.get(name)
                    side.touched.add(name)
        side.note(after)
        self._compare()

    def syncd(self, side: Side, after: State) -> None:
        """syncd has written. Raises Broken."""
        before = side.state
        if before == after:
            return
        if after is None:
            self._deletes(side)
        elif before is None:
            self._makes(side)
        names = set() if after is None else {*(before or {}), *after}
        for name in sorted(names):
            if (before or {}).get(name) != (after or {}).get(name):
                self._writes(side, name, (after or {}).get(name))
        side.note(after)
        self._compare()

    def _deletes(self, side: Side) -> None:
        other = self._other(side)
        if other.state and not other.touched:
            raise Broken(
                "nothing_lost", f"syncd removed it from {side.name}, and the other side has {other.state}"
            )
        for name, value in side.new.items():
            self._lose(Loss(side.name, name, value))
        side.new.clear()

    def _makes(self, side: Side) -> None:
        """What was deleted comes back by a conflict alone."""
        if side.is_deleted and self._kind.deletes and not self._is_recorded(Loss(side.name, "", None)):
            raise Broken("no_ghosts", f"what was deleted in {side.name} came back, and no record says so")
        side.is_deleted = False

    def _writes(self, side: Side, name: str, value: Any) -> None:
        other = self._other(side)
        had = other.history.get(name, [])
        if value is not None and value not in had:
            raise Broken(
                "never_torn", f"{name} in {side.name} became {value}, which the other side never had"
            )
        if value is not None:
            at = had.index(value)
            if at < side.taken.get(name, -1):
                raise Broken("never_backwards", f"{name} in {side.name} went back to {value}")
            side.taken[name] = at
        if name not in side.new:
            return
        lost = side.new.pop(name)
        if not self._is_contested(side, name, lost, value):
            raise Broken(
                "nothing_lost",
                f"{name} in {side.name} was {lost}, became {value}, and nobody had changed the other side",
            )
        self._lose(Loss(side.name, name, lost))

    def _is_contested(self, side: Side, name: str, lost: Any, value: Any) -> bool:
        """Whether the other side's application changed the same."""
        other = self._other(side)
        if name in self._kind.authority.get(other.name, ()):
            return True
        if lost is None or value is None:
            return True  # it may have been so on both sides for a moment
        return bool(other.touched if self._kind.rule != "merge_fields" else other.touched & {name, ""})

    def _lose(self, loss: Loss) -> None:
        if loss.value is None:
            return
        if not self._is_recorded(loss):
            raise Broken(
                "nothing_lost", f"{loss.name} in {loss.side} was {loss.value}, is gone, and has no record"
            )
        self.losses.append(loss)

    def _compare(self) -> None:
        """What both sides have is new nowhere."""
        ours, theirs = self.redis.state, self.mongo.state
        for name in self._kind.fields:
            value = (ours or {}).get(name)
            if value == (theirs or {}).get(name):
                for side in (self.redis, self.mongo):
                    side.new.pop(name, None)
                    if value is not None:
                        side.touched.discard(name)
        if ours is None and theirs is None:
            self._was_same = False
        if self.are_alike:
            self._was_same = self._was_same or (ours is not None and theirs is not None)
            for side in (self.redis, self.mongo):
                if ours or theirs:
                    side.touched.clear()  # syncd may have read what was there before both sides were gone
                side.is_deleted = False

    @property
    def are_alike(self) -> bool:
        """Whether both sides say the same. A document without fields has no key."""
        ours, theirs = self.redis.state, self.mongo.state
        return ours == theirs or (not ours and not theirs and theirs is not None)

    def unrecorded(self) -> Iterable[Loss]:
        """What no record tells any more."""
        return [loss for loss in self.losses if not self._is_recorded(loss)]
