"""Documents that are read again and written whole: those of dead letters, and what a check wants repaired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syncd import telemetry
from syncd.inbound.copies import GhostsUnit
from syncd.inbound.floors import Floors
from syncd.inbound.pipeline import Pipeline
from syncd.inbound.snapshot import Ghosts
from syncd.inbound.units import Unit
from syncd.plan.change import Ghost, Retired, Settled, Write
from syncd.plan.compile import Plan
from syncd.plan.keys import decode_key_value
from syncd.stores.lookup import Lookup
from syncd.stores.position import ControlKeys, Position
from syncd.stores.redis import RedisStore
from syncd.stores.repairs import of_document, of_key, repairs_done, requested_repairs, split_repairs
from syncd.stores.times import ZERO

MOST_REPAIRED = 256
"""Documents a step: a lane has its own work to do."""


class ReplayUnit(Unit):
    """Documents of dead letters, read again. One that still does not fit becomes a new dead letter."""

    op = "replay"

    def __init__(self, plan: Plan, lookup: Lookup, floors: Floors, letters: Mapping[str, str]) -> None:
        """`letters`: entry -> ident."""
        super().__init__()
        self._plan, self._lookup, self._floors = plan, lookup, floors
        self._letters = letters
        self._idents = sorted(set(letters.values()))
        self._time = ZERO
        self.size = len(self._idents)

    def _writes(self) -> list[Write] | None:
        ids = {ident: decode_key_value(ident) for ident in self._idents}
        found = self._lookup.by_ids(list(ids.values()), self._floors.horizon())
        if not found.complete:
            return None
        self._time = found.time
        self._floors.touch(self._idents, found.time)
        writes: list[Write] = [Settled(list(self._letters))]
        for ident, document_id in ids.items():
            document = found.documents.get(ident)
            if document is None:
                writes += self._plan.drops(ident, document_id, deleted=False)
            else:
                writes += self._plan.puts(ident, document, self._time, self._change_of(ident))
        return writes

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {"operationType": "replay", "documentKey": {"_id": decode_key_value(ident)}}

    @property
    def moves_floors(self) -> bool:
        """What was read gets a floor."""
        return True

    def confirmed(self) -> None:
        """What was read has its floor from now on."""
        self._floors.confirm_read(self._idents, self._time)

    def after(self, position: Position) -> Position:
        """Where it was; only the mark moves."""
        return replace(position, mark=max(position.mark, self._time))

    def split(self) -> list[Unit]:
        """Two halves; a single document always fits one reply."""
        entries = sorted(self._letters)
        middle = len(entries) // 2
        halves = entries[:middle], entries[middle:]
        return [
            ReplayUnit(
                self._plan, self._lookup, self._floors, {entry: self._letters[entry] for entry in half}
            )
            for half in halves
        ]


class RepairUnit(ReplayUnit):
    """Documents, read again. One that does not fit becomes a dead letter, one that is gone loses its keys."""

    op = "repair"

    def __init__(self, plan: Plan, lookup: Lookup, floors: Floors, idents: list[str]) -> None:
        super().__init__(plan, lookup, floors, {ident: ident for ident in idents})

    def _writes(self) -> list[Write] | None:
        writes = super()._writes()
        return None if writes is None else [write for write in writes if not isinstance(write, Settled)]

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {**super()._change_of(ident), "operationType": "repair"}

    def split(self) -> list[Unit]:
        """Two halves; a single document always fits one reply."""
        middle = len(self._idents) // 2
        halves = self._idents[:middle], self._idents[middle:]
        return [RepairUnit(self._plan, self._lookup, self._floors, half) for half in halves]


class Repairs:
    """The repairs of one lane."""

    def __init__(
        self,
        plan: Plan,
        store: RedisStore,
        control: ControlKeys,
        pipeline: Pipeline,
        lookup: Lookup,
        floors: Floors,
    ) -> None:
        self._plan, self._store, self._control = plan, store, control
        self._pipeline, self._lookup, self._floors = pipeline, lookup, floors

    def work_off(self) -> bool:
        """Some of what waits. Nothing may be in flight. Returns whether more of it may be this lane's."""
        idents, keys = split_repairs(requested_repairs(self._store, self._plan.name))
        mine = self._own(idents)
        part = mine[:MOST_REPAIRED]
        if part:
            self._pipeline.apply(RepairUnit(self._plan, self._lookup, self._floors, part))
        done = [of_document(ident) for ident in part]
        if keys and self._control.partition.leads:
            self._pipeline.apply(GhostsUnit(Ghosts(self._strays(keys), self._floors.horizon()), self._floors))
            done += [of_key(*pair) for pair in keys]
        self._pipeline.settle()
        repairs_done(self._store, self._plan.name, done)
        if done:
            telemetry.repairs_applied(self._plan.name, len(done))
        return len(mine) > len(part)

    def _own(self, idents: list[str]) -> list[str]:
        own = self._lookup.own([decode_key_value(ident) for ident in idents])
        return [ident for ident, ours in zip(idents, own, strict=True) if ours]

    def _strays(self, keys: list[tuple[str, str]]) -> list[Ghost]:
        shapes = {s.name: Retired(s.name, s.type, s.template) for s in self._plan.shapes}
        return [Ghost(shapes[name], "", key, (shapes[name],)) for name, key in keys if name in shapes]
