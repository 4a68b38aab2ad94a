"""Units of work: what one atomic call applies, and the position behind it.

A unit can be built again: when Redis refused a part of it, or when a read that came before it moved the floors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from syncd.errors import FatalError
from syncd.inbound.floors import Floors
from syncd.inbound.window import Window, WindowBuilder
from syncd.plan.change import Changed, Dead, Hashed, Patch, Settled, Write
from syncd.plan.keys import encode_key_value
from syncd.stores.position import Position
from syncd.stores.times import token_time

_OF_NO_KEY = (Dead, Settled, Changed, Hashed)
_REASONS = {
    "type": (
        "wrong_type",
        "the key holds another Redis type, which syncd did not write; remove that key and replay",
    ),
}


class Unit(ABC):
    """One call. `size` counts source changes or documents."""

    size = 0
    op = ""
    """Why a key goes with it: a word of REMOVAL_REASONS."""
    sources: dict[str, tuple[int | None, int]] | None = None
    """Digest and bucket of documents as the last build has them, where they came with the read."""

    def __init__(self) -> None:
        self._parked: dict[tuple[str, str], tuple[str, str]] = {}

    @abstractmethod
    def _writes(self) -> list[Write] | None: ...

    @abstractmethod
    def after(self, position: Position) -> Position:
        """The position when this unit is applied on top of `position`."""

    def is_stale(self) -> bool:
        """Whether the floors moved since the last build in a way that matters."""
        return False

    @property
    def moves_floors(self) -> bool:
        """Whether the floors move when the last build is confirmed: `is_stale` of a later window can be asked then."""
        return False

    def split(self) -> list[Unit]:
        """Two smaller units, where `build` gave None."""
        raise NotImplementedError

    def unfit(self, error: Exception) -> None:
        """The build of the one change or document that this unit holds has raised an error: the next build is without
        it. Raises the error where it holds none, or where this has helped nothing."""
        raise error

    def confirmed(self) -> None:  # noqa: B027 - most units have nothing to tell
        """Redis holds what the last build gave."""

    def build(self) -> list[Write] | None:
        """The writes; None when the unit is too big for one read and must be split."""
        writes = self._writes()
        if writes is None or not self._parked:
            return writes
        return [self._park(write) for write in writes]

    def _park(self, write: Write) -> Write:
        if isinstance(write, _OF_NO_KEY):
            return write
        parked = self._parked.get((write.ident, write.shape.name))
        return self.dead(write, *parked) if parked else write

    def dead(self, write: Write, reason: str, detail: str) -> Dead:
        """A dead letter instead of a write."""
        assert not isinstance(write, _OF_NO_KEY)
        return Dead(
            write.shape.name, write.ident, write.key or "", reason, detail, self._change_of(write.ident)
        )

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {}

    def refuse(self, write: Write, reason: str) -> None:
        """Redis does not take this write: park it as a dead letter in the next build.

        Raises FatalError where the fault is not the document's but a right that we lack.
        """
        if "NOPERM" in reason or "ACL failure" in reason:
            raise FatalError(
                "redis", f"Redis refuses us: {reason[:200]}; mend the ACL of SYNCD_REDIS_URL's user"
            )
        if not isinstance(write, _OF_NO_KEY):
            said = _REASONS.get(reason, ("redis_refused", f"Redis refused the write: {reason[:200]}"))
            self._parked[write.ident, write.shape.name] = said


class WindowUnit(Unit):
    """Consecutive changes of the stream."""

    op = "change"

    def __init__(self, window: Window, builder: WindowBuilder, floors: Floors) -> None:
        super().__init__()
        self.window, self._builder, self._floors = window, builder, floors
        self.size = len(window.events)

    def _writes(self) -> list[Write] | None:
        return self._builder.build(self.window)

    def unfit(self, error: Exception) -> None:
        """What an event cannot say a read may; what is left then is a dead letter."""
        self._builder.unfit(self.window, error)

    def _change_of(self, ident: str) -> dict[str, Any]:
        for event in reversed(self.window.events):
            if "documentKey" in event and encode_key_value(event["documentKey"]["_id"]) == ident:
                return event
        return {}

    def is_stale(self) -> bool:
        """A read that covers some of these changes was confirmed in the meantime."""
        return self._builder.is_stale(self.window)

    @property
    def moves_floors(self) -> bool:
        """What was read gets a floor."""
        return bool(self.window.read)

    def confirmed(self) -> None:
        """What was read has its floor from now on; floors that the stream has passed are forgotten."""
        if self.window.read:
            self._floors.confirm_read(self.window.read, self.window.read_time)
        self._floors.passed(self.window.time)

    def refuse(self, write: Write, reason: str) -> None:
        """A delta without its document is answered by a read; anything else by a dead letter."""
        if reason == "absent" and isinstance(write, Patch):
            self.window.must_read.add(write.ident)
        else:
            super().refuse(write, reason)

    def after(self, position: Position) -> Position:
        """Behind the window's last change."""
        return replace(
            position,
            token=self.window.token,
            event=self.window.events[-1]["_id"],
            time=self.window.time,
            mark=max(position.mark, self.window.read_time),
        )

    def split(self) -> list[Unit]:
        """Two halves, each with its own position."""
        events = self.window.events
        middle = len(events) // 2
        last = events[middle - 1]
        first = Window(events[:middle], last["_id"], token_time(last["_id"]))
        second = Window(events[middle:], self.window.token, self.window.time)
        return [WindowUnit(part, self._builder, self._floors) for part in (first, second)]


class LettersUnit(Unit):
    """Dead letters of a unit that is not applied: as many as a contract has room for."""

    def __init__(self, letters: list[Dead]) -> None:
        super().__init__()
        self._letters = letters

    def _writes(self) -> list[Write]:
        return [*self._letters]

    def after(self, position: Position) -> Position:
        """Where it was."""
        return position


class Step(Unit):
    """A new position and nothing else."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self._changes = changes

    def _writes(self) -> list[Write]:
        return []

    def after(self, position: Position) -> Position:
        """The position with the changed fields."""
        return replace(position, **self._changes)
