"""Documents that are read again and written whole: those of dead letters, and what a check wants repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd import telemetry
from syncd.errors import FOREIGN_LOST
from syncd.plan.keys.templates import decode_key_value
from syncd.plan.to_redis.change import (
    AnsweredDeadLetters,
    Drop,
    Elements,
    Orphan,
    Put,
    Retired,
    Stray,
    Write,
)
from syncd.stores.redis.records.keys.foreign_keys import has_lost_foreign
from syncd.stores.redis.records.keys.key_maps import KeyMaps, holders
from syncd.stores.redis.records.requests.repairs import (
    of_document,
    of_key,
    of_member,
    repairs_done,
    request_repairs,
    requested_repairs,
    split_members,
    split_repairs,
)
from syncd.to_redis.apply.builder import Builder
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.apply.units import DocumentsUnit, Draft, Unit, UnitCall
from syncd.to_redis.apply.watermarks import Coverage
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.survey import Orphans
from syncd.to_redis.copy.units import OrphansUnit

MOST_REPAIRED = 256
"""Documents a step: a lane has its own work to do."""


class ReplayUnit(DocumentsUnit):
    """Documents of dead letters, read again. One that still does not fit becomes a new dead letter."""

    op = "replay"

    def __init__(
        self,
        builder: Builder,
        dead_letters: Mapping[str, str],
        names: Mapping[str, set[str]] | None = None,
        *,
        answers: bool = True,
    ) -> None:
        """`dead_letters`: entry -> ident; `names`: ident -> projections, where they have change feeds. `answers`: the
        dead letters go with this call."""
        self._answers = answers
        self._builder = builder
        self._by_entry = dead_letters
        self._names = names or {}
        self._idents = sorted(set(dead_letters.values()))
        self.size = len(self._idents)

    def _draft(self, call: UnitCall) -> Draft | None:
        answered: list[Write] = [AnsweredDeadLetters(list(self._by_entry))] if self._answers else []
        if call.unfit is not None:
            return Draft([*answered, *self._dead_letters(self._idents, call.unfit)])
        ids = {ident: decode_key_value(ident) for ident in self._idents}
        builder = self._builder
        found = builder.lookup.by_ids(list(ids.values()), builder.watermarks.horizon)
        if not found.complete:
            return None
        writes = answered
        for ident, document_id in ids.items():
            document = found.documents.get(ident)
            if document is None:
                writes += builder.missing(ident, document_id)
            else:
                writes += builder.found(ident, document, found.time, self._change_of(ident))
            if ident in self._names:
                writes += builder.replayed(self._names[ident], ident, document, found.time)
        return Draft(writes, Coverage(ids, found.time, ids, found.time))

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {"operationType": "replay", "documentKey": {"_id": decode_key_value(ident)}}

    def split(self) -> list[Unit]:
        """Two halves; a single document always fits one reply."""
        entries = sorted(self._by_entry)
        middle = len(entries) // 2
        halves = entries[:middle], entries[middle:]
        return [
            ReplayUnit(
                self._builder,
                {entry: self._by_entry[entry] for entry in half},
                self._names,
                answers=self._answers,
            )
            for half in halves
        ]


class RepairUnit(ReplayUnit):
    """Documents, read again. One that does not fit becomes a dead letter, one that is gone loses its keys, unless these
    may be an application's."""

    op = "repair"

    def __init__(self, builder: Builder, idents: list[str], maps: KeyMaps, *, removes: bool) -> None:
        super().__init__(builder, {ident: ident for ident in idents})
        self._maps, self._removes = maps, removes

    def _draft(self, call: UnitCall) -> Draft | None:
        draft = super()._draft(call)
        if draft is not None:
            writes = [
                one
                for one in draft.writes
                if not (isinstance(one, AnsweredDeadLetters) or self._is_kept(one))
            ]
            draft.writes = [*self._false_holders(draft.writes), *writes]
        return draft

    def _is_kept(self, write: Write) -> bool:
        """Of a key that a map names it is known that syncd wrote it."""
        return not self._removes and isinstance(write, Drop) and write.key is not None

    def _false_holders(self, writes: list[Write]) -> list[Write]:
        """On keys that are about to be written: by documents that have other keys, as the maps themselves say."""
        found: list[Write] = []
        for shape in self._builder.plan.shapes:
            mine = [one for one in writes if isinstance(one, Put | Elements) and one.shape is shape]
            puts = {
                put.key: put.ident
                for one in mine
                for put in (one.puts if isinstance(one, Elements) else [one])
            }
            if shape.by_id or shape.is_shared or not puts:
                continue
            retired = Retired(shape.name, shape.type, shape.template)
            found += [
                Orphan(retired, "", held.key, held.said)
                for held in self._maps.of(shape, list(puts))
                if held.said and held.ident != puts[held.key] and not held.is_sound
            ]
        return found

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {**super()._change_of(ident), "operationType": self.op}

    def split(self) -> list[Unit]:
        """Two halves; a single document always fits one reply."""
        middle = len(self._idents) // 2
        halves = self._idents[:middle], self._idents[middle:]
        return [type(self)(self._builder, half, self._maps, removes=self._removes) for half in halves]


class Repairs:
    """The repairs of one lane."""

    def __init__(self, run: RunContext, pipeline: Pipeline) -> None:
        self._plan, self._store, self._control = run.lane.plan, run.lane.redis, run.lane.control
        self._builder, self._pipeline = run.builder, pipeline
        self._maps = KeyMaps(self._store, self._control)

    def work_off(self) -> bool:
        """Some of what waits. Returns whether more of it may be this lane's."""
        requested = requested_repairs(self._store, self._plan.name)
        (idents, keys), members = split_repairs(requested), split_members(requested)
        mine = self._own(idents)
        part = mine[:MOST_REPAIRED]
        removes = self._plan.contract.is_two_way or not has_lost_foreign(self._store, self._plan.name)
        if (part or keys or members) and not removes:
            telemetry.repairs_held_back(self._plan.name, FOREIGN_LOST)
        if part:
            self._pipeline.apply(RepairUnit(self._builder, part, self._maps, removes=removes))
        done = [of_document(ident) for ident in part]
        if keys and self._control.partition.leads:
            self._remove(keys, removes=removes)
            done += [of_key(*pair) for pair in keys]
        if members and self._control.partition.leads:
            self._remove_members(members, removes=removes)
            done += [of_member(*one) for one in members]
        if done:
            self._pipeline.replayed()
        repairs_done(self._store, self._plan.name, done)
        if done:
            telemetry.repairs_applied(self._plan.name, len(done))
        return len(mine) > len(part)

    def _own(self, idents: list[str]) -> list[str]:
        own = self._builder.lookup.own([decode_key_value(ident) for ident in idents])
        return [ident for ident, ours in zip(idents, own, strict=True) if ours]

    def _remove_members(self, members: list[tuple[str, str, str, bytes]], *, removes: bool) -> None:
        """Members that no document has by the map. Redis looks there once more."""
        for shape in self._plan.shapes if removes else ():
            retired = Retired(shape.name, shape.type, shape.template)
            named = [one[1:] for one in members if one[0] == shape.name and shape.is_shared]
            strays = [Stray(retired, *one) for one in named]
            if strays:
                time = self._builder.watermarks.horizon
                self._pipeline.apply(OrphansUnit(self._builder, Orphans(strays, time, "repair")))

    def _remove(self, keys: list[tuple[str, str]], *, removes: bool) -> None:
        """Keys that have no document by the maps. One that has a document all the same is repaired with it."""
        builder = self._builder
        for shape in self._plan.shapes:
            named = [key for name, key in keys if name == shape.name]
            held_by = {held.key: held for held in self._maps.of(shape, named)}
            for found in holders(builder.lookup, shape, named, builder.watermarks.horizon):
                owned = {ident for documents in found.by_key.values() for ident in documents}
                request_repairs(self._store, self._plan.name, [of_document(ident) for ident in owned])
                retired = Retired(shape.name, shape.type, shape.template)
                orphans = [
                    Orphan(retired, "", key, held_by[key].said)
                    for key, documents in found.by_key.items() if not documents
                ]  # fmt: skip
                if orphans and removes:
                    self._pipeline.apply(OrphansUnit(builder, Orphans(orphans, found.time, "repair")))
