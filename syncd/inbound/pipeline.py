"""Applies units one after another, with two calls in flight: the next is built while Redis works on the last.

With one, Redis would wait for us between two calls, and we for Redis. Redis itself keeps them in step: it leaves a call
out when the one before was not applied.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from syncd import telemetry
from syncd.errors import FatalError, InvariantError, LettersFullError, is_about_input, why_unfit
from syncd.inbound.operations import Operations, is_unicode
from syncd.inbound.units import LettersUnit, Unit, WindowUnit
from syncd.inbound.writer import Writer
from syncd.plan.change import Changed, Dead, Drop, Ghost, Hashed, Mark, Orphan, Patch, Put, Settled, Write
from syncd.plan.compile import Plan
from syncd.stores.deadletters import room_for
from syncd.stores.position import ControlKeys, Position

RESULTS = {
    Put: "put", Patch: "patch", Drop: "delete", Ghost: "delete", Orphan: "delete", Dead: "dead",
    Settled: "settled", Mark: "marked", Changed: "noted", Hashed: "noted",
}  # fmt: skip
"""What `syncd_writes_total` calls each kind of write."""

_OF_LETTERS = (Dead, Settled)
_SWEEPS = ("sweep", "retired")

SLOW_CALL_S = 0.008
QUICK_CALL_S = 0.003
"""The application's reads wait behind a call. Above the one the calls get smaller, below the other larger again: an
insert into a vector index costs a hundred times what a plain hash does."""
FEWEST_WRITES = 16
IN_FLIGHT = 2
"""Calls. A third would gain nothing more, and the application's reads wait behind all that are there at once."""


@dataclass(slots=True)
class _InFlight:
    unit: Unit
    operations: Operations
    before: Position
    after: Position
    started: float


@dataclass(slots=True)
class Moved:
    """What Redis confirmed since the run began."""

    written: int = 0
    """Keys, as often as they were written as a whole."""
    removed: int = 0
    """Removals of keys, also of keys that were not there."""

    def count(self, result: str, count: int) -> None:
        """So many more."""
        if result == "put":
            self.written += count
        elif result == "delete":
            self.removed += count


class Pipeline:
    """Keeps the position in step with what Redis confirmed.

    `position` is behind everything that was sent, `confirmed` behind everything that Redis acknowledged. `writes` is
    how many a call should hold at present.
    """

    def __init__(
        self,
        plan: Plan,
        control: ControlKeys,
        writer: Writer,
        position: Position,
        most_writes: int,
        tell: Callable[[Unit], None],
        removals: telemetry.Removals,
        also: Callable[[Unit, list[Write]], list[Write]] | None = None,
    ) -> None:
        """`tell` hears of every unit that Redis confirmed; `also` gives its writes with those that they entail."""
        self._plan, self._control, self._writer, self._tell = plan, control, writer, tell
        self._removals, self._also = removals, also
        self.position = self.confirmed = position
        self.confirmed_at = time.monotonic()
        self._most_writes = self.writes = most_writes
        self._flying: deque[_InFlight] = deque()
        self.swept = 0
        """Keys that went for want of a document, or of a template."""
        self.letters_changed = False
        """Whether Redis holds other dead letters than when somebody last set this to False."""
        self.moved = Moved()

    def apply(self, unit: Unit) -> None:
        """Send a unit behind those in flight; returns when there is room for another."""
        started = time.monotonic()
        operations = self._encode(unit)
        if operations is None:
            for half in unit.split():
                self.apply(half)
            return
        while self._has_to_wait(unit):
            self._settle_first()
        if unit.is_stale():
            # What came before took a read: what was built from older changes may be behind it now.
            self.apply(unit)
            return
        self._launch(unit, operations, self.position, started)

    def settle(self) -> None:
        """Wait until all calls are confirmed."""
        while self._flying:
            self._settle_first()

    def _has_to_wait(self, unit: Unit) -> bool:
        """Whether there is no room, or a read in flight may cover changes that this unit takes from their events."""
        if len(self._flying) >= IN_FLIGHT:
            return True
        return isinstance(unit, WindowUnit) and any(flying.unit.moves_floors for flying in self._flying)

    def _launch(self, unit: Unit, operations: Operations, before: Position, started: float) -> None:
        after = unit.after(before)
        operations = self._send(unit, operations, after)
        self._flying.append(_InFlight(unit, operations, before, after, started))
        self.position = after

    def _settle_first(self) -> None:
        """Wait for the first call; where Redis refuses a part of it, make it again, and those behind it as well."""
        flying = self._flying.popleft()
        outcome = self._writer.receive()
        if outcome.ok:
            telemetry.letters_dropped(self._plan.name, outcome.dropped)
            self._removals.add(flying.unit.op, outcome.removed)
            self.swept += outcome.removed if flying.unit.op in _SWEEPS else 0
            self._confirm(flying)
            return
        left_out = self._leave_out()
        self.position = flying.before
        for index, reason in outcome.refused + outcome.failed:
            write = flying.operations.writes[index]
            if reason == "full":
                self._fill_letters(flying)
            if isinstance(write, Dead | Settled):
                dead = self._control.dead
                raise FatalError("redis", f"{dead} takes no dead letter ({reason[:200]}); remove that key")
            if isinstance(write, Changed | Hashed):
                changed = self._control.changed
                raise FatalError("redis", f"{changed} takes no document ({reason[:200]}); remove that key")
            flying.unit.refuse(write, reason)
        self._again(flying)
        for unit in left_out:
            self.apply(unit)

    def _fill_letters(self, flying: _InFlight) -> NoReturn:
        """Letters for which there is room are stored, so that a person sees what it is about; then the run ends."""
        dead = [write for write in flying.operations.writes if type(write) is Dead]
        names = [f"{write.projection} {write.ident}" for write in dead]
        room = room_for(self._writer.store, self._plan.name, names, self._plan.keep_letters)
        if room:
            self.apply(LettersUnit([dead[at] for at in room]))
            self.settle()
        raise LettersFullError(self._plan.name, self._plan.keep_letters)

    def _leave_out(self) -> list[Unit]:
        """The units whose calls were behind one that was not applied."""
        units = [flying.unit for flying in self._flying]
        self._flying.clear()
        for _ in units:
            outcome = self._writer.receive()
            if not outcome.behind:
                raise InvariantError("Redis applied a call without the one before")
        return units

    def _again(self, flying: _InFlight) -> None:
        """Nothing else is in flight. The unit is built anew, and may have to be split by now."""
        operations = self._encode(flying.unit)
        if operations is None:  # the reads are too big for one reply; nothing of it was applied yet
            for half in flying.unit.split():
                self.apply(half)
            return
        self._launch(flying.unit, operations, flying.before, flying.started)

    def _encode(self, unit: Unit) -> Operations | None:
        """None where the unit has to be split: one read cannot hold it, or something in it raises an error. By halves
        that is narrowed to the one that does, and this one becomes a dead letter."""
        try:
            return self._built(unit)
        except Exception as error:
            if unit.size < 1 or not is_about_input(error):
                raise
            if unit.size > 1:
                return None
            unit.unfit(error)
            return self._encode(unit)

    def _built(self, unit: Unit) -> Operations | None:
        writes = unit.build()
        if writes is not None and self._also is not None:
            writes = self._also(unit, writes)
        return None if writes is None else self._operations(unit, writes)

    def _send(self, unit: Unit, operations: Operations, after: Position) -> Operations:
        """Returns what was sent. Text that is not UTF-8 is only found by the packing: a look at every text before
        would cost as much again."""
        try:
            self._writer.send(operations, after)
        except UnicodeEncodeError:
            why = "not_unicode", "a field holds text that is not UTF-8"
            writes = [write if is_unicode(write) else unit.dead(write, *why) for write in operations.writes]
            operations = self._operations(unit, writes)
            self._writer.send(operations, after)
        return operations

    def _operations(self, unit: Unit, writes: list[Write]) -> Operations:
        contract = self._plan.contract
        operations = Operations(
            self._control, contract.name, contract.metadata.version, self._plan.keep_letters
        )
        # A dead letter must not be written twice when a call has to be made again, nor settled before all is written.
        dead: list[Write] = [write for write in writes if type(write) is Dead]
        settled: list[Write] = [write for write in writes if type(write) is Settled]
        if dead or settled:
            writes = [write for write in writes if type(write) not in _OF_LETTERS]
        for write in writes:
            try:
                operations.add(write)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this write's
                why = why_unfit(error)
                dead.append(unit.dead(write, why.reason, why.detail))
        for letter in [*dead, *settled]:
            operations.add(letter)
        return operations

    def _confirm(self, flying: _InFlight) -> None:
        flying.unit.confirmed()
        self._tell(flying.unit)
        self.confirmed = flying.after
        self.confirmed_at = time.monotonic()
        self._adapt(self._writer.call_s, len(flying.operations.writes))
        name = self._plan.name
        telemetry.BATCH.labels(name).observe(self.confirmed_at - flying.started)
        for kind, count in Counter(map(type, flying.operations.writes)).items():
            telemetry.WRITES.labels(name, "redis", RESULTS[kind]).inc(count)
            self.moved.count(RESULTS[kind], count)
        letters = [write for write in flying.operations.writes if type(write) in _OF_LETTERS]
        self.letters_changed = self.letters_changed or bool(letters)
        telemetry.dead_letters(
            name, ((one.projection, one.reason, one.detail) for one in letters if isinstance(one, Dead))
        )

    def _adapt(self, seconds: float | None, writes: int) -> None:
        if seconds is None or seconds < QUICK_CALL_S:
            self.writes = min(self._most_writes, self.writes + FEWEST_WRITES)
        elif seconds > SLOW_CALL_S and writes >= FEWEST_WRITES:
            self.writes = max(min(FEWEST_WRITES, self._most_writes), min(self.writes, writes) // 2)
