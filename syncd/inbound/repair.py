"""Documents that are read again and written whole: those of dead letters, and what a check wants repaired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syncd import telemetry
from syncd.errors import ProjectionError, why_unfit
from syncd.inbound.copies import GhostsUnit
from syncd.inbound.floors import Floors
from syncd.inbound.pipeline import Pipeline
from syncd.inbound.snapshot import Ghosts
from syncd.inbound.units import Unit
from syncd.plan.change import Dead, Orphan, Put, Retired, Settled, Write
from syncd.plan.compile import Plan
from syncd.plan.keys import decode_key_value
from syncd.stores.key_maps import KeyMaps, holders
from syncd.stores.lookup import Lookup
from syncd.stores.position import ControlKeys, Position
from syncd.stores.redis import RedisStore
from syncd.stores.repairs import (
    of_document,
    of_key,
    repairs_done,
    request_repairs,
    requested_repairs,
    split_repairs,
)
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
        self._by_entry = letters
        self._idents = sorted(set(letters.values()))
        self._time = ZERO
        self._why: ProjectionError | None = None
        self.size = len(self._idents)

    def unfit(self, error: Exception) -> None:
        """Its document becomes a dead letter."""
        if self._why is not None:
            raise error
        self._why = why_unfit(error)

    def _letters(self, why: ProjectionError) -> list[Write]:
        return [
            Dead(shape.name, ident, "", why.reason, why.detail, self._change_of(ident))
            for ident in self._idents
            for shape in self._plan.shapes
        ]

    def _writes(self) -> list[Write] | None:
        if self._why is not None:
            return [Settled(list(self._by_entry)), *self._letters(self._why)]
        ids = {ident: decode_key_value(ident) for ident in self._idents}
        found = self._lookup.by_ids(list(ids.values()), self._floors.horizon())
        if not found.complete:
            return None
        self._time = found.time
        self._floors.touch(self._idents, found.time)
        writes: list[Write] = [Settled(list(self._by_entry))]
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
        entries = sorted(self._by_entry)
        middle = len(entries) // 2
        halves = entries[:middle], entries[middle:]
        return [
            ReplayUnit(
                self._plan, self._lookup, self._floors, {entry: self._by_entry[entry] for entry in half}
            )
            for half in halves
        ]


class RepairUnit(ReplayUnit):
    """Documents, read again. One that does not fit becomes a dead letter, one that is gone loses its keys."""

    op = "repair"

    def __init__(self, plan: Plan, lookup: Lookup, floors: Floors, idents: list[str], maps: KeyMaps) -> None:
        super().__init__(plan, lookup, floors, {ident: ident for ident in idents})
        self._maps = maps

    def _writes(self) -> list[Write] | None:
        writes = super()._writes()
        if writes is None:
            return None
        return [*self._false_holders(writes), *(one for one in writes if not isinstance(one, Settled))]

    def _false_holders(self, writes: list[Write]) -> list[Write]:
        """On keys that are about to be written: by documents that have other keys, as the maps themselves say."""
        found: list[Write] = []
        for shape in self._plan.shapes:
            puts = {one.key: one.ident for one in writes if isinstance(one, Put) and one.shape is shape}
            if shape.by_id or not puts:
                continue
            retired = Retired(shape.name, shape.type, shape.template)
            found += [
                Orphan(retired, "", held.key, held.said)
                for held in self._maps.of(shape, list(puts))
                if held.said and held.ident != puts[held.key] and not held.is_sound
            ]
        return found

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {**super()._change_of(ident), "operationType": "repair"}

    def split(self) -> list[Unit]:
        """Two halves; a single document always fits one reply."""
        middle = len(self._idents) // 2
        halves = self._idents[:middle], self._idents[middle:]
        common = self._plan, self._lookup, self._floors
        return [RepairUnit(*common, half, self._maps) for half in halves]


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
        self._maps = KeyMaps(store, control)

    def work_off(self) -> bool:
        """Some of what waits. Nothing may be in flight. Returns whether more of it may be this lane's."""
        idents, keys = split_repairs(requested_repairs(self._store, self._plan.name))
        mine = self._own(idents)
        part = mine[:MOST_REPAIRED]
        if part:
            common = self._plan, self._lookup, self._floors
            self._pipeline.apply(RepairUnit(*common, part, self._maps))
        done = [of_document(ident) for ident in part]
        if keys and self._control.partition.leads:
            self._remove(keys)
            done += [of_key(*pair) for pair in keys]
        self._pipeline.settle()
        repairs_done(self._store, self._plan.name, done)
        if done:
            telemetry.repairs_applied(self._plan.name, len(done))
        return len(mine) > len(part)

    def _own(self, idents: list[str]) -> list[str]:
        own = self._lookup.own([decode_key_value(ident) for ident in idents])
        return [ident for ident, ours in zip(idents, own, strict=True) if ours]

    def _remove(self, keys: list[tuple[str, str]]) -> None:
        """Keys that have no document by the maps. One that has a document all the same is repaired with it."""
        for shape in self._plan.shapes:
            named = [key for name, key in keys if name == shape.name]
            held_by = {held.key: held for held in self._maps.of(shape, named)}
            for found in holders(self._lookup, shape, named, self._floors.horizon()):
                owned = {ident for documents in found.by_key.values() for ident in documents}
                request_repairs(self._store, self._plan.name, [of_document(ident) for ident in owned])
                retired = Retired(shape.name, shape.type, shape.template)
                orphans = [
                    Orphan(retired, "", key, held_by[key].said)
                    for key, documents in found.by_key.items() if not documents
                ]  # fmt: skip
                if orphans:
                    self._pipeline.apply(GhostsUnit(Ghosts(orphans, found.time, "repair"), self._floors))
