"""Applies units one after another, with one call in flight: the next is built while Redis works on the last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from syncd import telemetry
from syncd.errors import FatalError, ProjectionError
from syncd.inbound.operations import Operations, is_unicode
from syncd.inbound.units import Unit
from syncd.inbound.writer import Writer
from syncd.plan.change import Dead, Drop, Ghost, Patch, Put, Settled, Write
from syncd.plan.compile import Plan
from syncd.stores.position import ControlKeys, Position

_RESULTS = {Put: "put", Patch: "patch", Drop: "delete", Ghost: "delete", Dead: "dead", Settled: "settled"}

_OF_LETTERS = (Dead, Settled)

SLOW_CALL_S = 0.008
QUICK_CALL_S = 0.003
"""The application's reads wait behind a call. Above the one the calls get smaller, below the other larger again: an
insert into a vector index costs a hundred times what a plain hash does."""
FEWEST_WRITES = 16


@dataclass(slots=True)
class _InFlight:
    unit: Unit
    operations: Operations
    before: Position
    after: Position
    started: float


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
    ) -> None:
        """`tell` hears of every unit that Redis confirmed."""
        self._plan, self._control, self._writer, self._tell = plan, control, writer, tell
        self.position = self.confirmed = position
        self.confirmed_at = time.monotonic()
        self._most_writes = self.writes = most_writes
        self._flying: _InFlight | None = None

    def apply(self, unit: Unit) -> None:
        """Send a unit behind the one in flight; returns when the one before is confirmed."""
        started = time.monotonic()
        operations = self._encode(unit)
        if operations is None:
            for half in unit.split():
                self.apply(half)
            return
        self.settle()
        if unit.is_stale():
            # Settling the one before took a read: what was built from older changes may be behind it now.
            self.apply(unit)
            return
        after = unit.after(self.position)
        operations = self._send(unit, operations, after)
        self._flying = _InFlight(unit, operations, self.position, after, started)
        self.position = after

    def settle(self) -> None:
        """Wait until the call in flight is confirmed, making it again as long as Redis refuses a part of it."""
        while (flying := self._flying) is not None:
            self._flying = None
            outcome = self._writer.receive()
            if outcome.ok:
                self._confirm(flying)
                return
            for index, reason in outcome.refused + outcome.failed:
                write = flying.operations.writes[index]
                if isinstance(write, Dead | Settled):
                    dead = self._control.dead
                    raise FatalError(
                        "redis", f"{dead} takes no dead letter ({reason[:200]}); remove that key"
                    )
                flying.unit.refuse(write, reason)
            self._again(flying)

    def _again(self, flying: _InFlight) -> None:
        operations = self._encode(flying.unit)
        if operations is None:  # the reads are too big for one reply; nothing of it was applied yet
            self.position = flying.before
            for half in flying.unit.split():
                self.apply(half)
            return
        after = flying.unit.after(flying.before)
        operations = self._send(flying.unit, operations, after)
        self._flying = _InFlight(flying.unit, operations, flying.before, after, flying.started)
        self.position = after

    def _encode(self, unit: Unit) -> Operations | None:
        writes = unit.build()
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
        operations = Operations(self._control, contract.name, contract.metadata.version)
        # A dead letter must not be written twice when a call has to be made again, nor settled before all is written.
        dead: list[Write] = [write for write in writes if type(write) is Dead]
        settled: list[Write] = [write for write in writes if type(write) is Settled]
        if dead or settled:
            writes = [write for write in writes if type(write) not in _OF_LETTERS]
        for write in writes:
            try:
                operations.add(write)
            except ProjectionError as error:
                dead.append(unit.dead(write, error.reason, error.detail))
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
            telemetry.WRITES.labels(name, "redis", _RESULTS[kind]).inc(count)
        for write in flying.operations.writes:
            if type(write) is Dead:
                telemetry.dead_letter(name, write.reason, write.projection, write.key, write.detail)

    def _adapt(self, seconds: float | None, writes: int) -> None:
        if seconds is None or seconds < QUICK_CALL_S:
            self.writes = min(self._most_writes, self.writes + FEWEST_WRITES)
        elif seconds > SLOW_CALL_S and writes >= FEWEST_WRITES:
            self.writes = max(min(FEWEST_WRITES, self._most_writes), min(self.writes, writes) // 2)
