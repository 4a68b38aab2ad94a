"""Reads a whole collection in chunks, then finds keys whose documents are gone (the sweep). Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from bson.timestamp import Timestamp

from syncd.contract.template import KeyTemplate
from syncd.errors import TransientError
from syncd.inbound.floors import Floors
from syncd.inbound.lookup import Lookup
from syncd.plan.change import Drop, Retired
from syncd.plan.compile import Plan
from syncd.plan.keys import decode_key_value, encode_key_value, parse_key, scan_pattern
from syncd.stores.mongo import Document
from syncd.stores.position import SNAPSHOT, STREAM, SWEEP, ControlKeys, Position
from syncd.stores.redis import RedisStore, translated

SCAN_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Documents in `_id` order, all as they were at `time`."""

    documents: list[Document]
    time: Timestamp


@dataclass(frozen=True, slots=True)
class Ghosts:
    """Keys that have to go: their documents were not there at `time`."""

    drops: list[Drop]
    time: Timestamp


@dataclass(frozen=True, slots=True)
class NextPhase:
    """All of the phase before was handed over."""

    phase: str


Item: TypeAlias = Chunk | Ghosts | NextPhase
Candidate: TypeAlias = tuple[Drop, Any]
"""What would remove a key, and the `_id` of the document that the key says it belongs to."""


class SnapshotReader:
    """Yields chunks from the stored cursor on, then ghosts. Every read is at or after all that the stream wrote."""

    def __init__(
        self, plan: Plan, lookup: Lookup, floors: Floors, store: RedisStore, control: ControlKeys, size: int
    ) -> None:
        self._plan, self._lookup, self._floors = plan, lookup, floors
        self._store, self._control, self._size = store, control, size
        self._time = floors.horizon()

    def items(self, position: Position) -> Iterator[Item]:
        """Everything from `position` to the end of the snapshot."""
        if position.phase == SNAPSHOT:
            yield from self._chunks(position.cursor)
            yield NextPhase(SWEEP)
        if position.next == SWEEP and self._plan.contract.sync.on_delete == "delete":
            yield from self._sweep(position)
        yield NextPhase(STREAM)

    def _after(self) -> Timestamp:
        self._time = max(self._time, self._floors.horizon())
        return self._time

    def _chunks(self, cursor: Document | None) -> Iterator[Chunk]:
        while True:
            documents, self._time = self._lookup.chunk(cursor, self._size, self._after())
            if not documents:
                return
            yield Chunk(documents, self._time)
            cursor = {"_id": documents[-1]["_id"]}

    def _sweep(self, position: Position) -> Iterator[Ghosts]:
        for shape in self._plan.shapes:
            scan = self._scan_by_id if shape.by_id else self._scan_map
            for candidates in scan(Retired(shape.name, shape.type, shape.template)):
                yield from self._ghosts(candidates)
        for owned in position.owned:
            if owned not in self._plan.owned:
                yield from self._retired(Retired(owned[0], owned[2], KeyTemplate.parse(owned[1])))

    def _ghosts(self, candidates: list[Candidate]) -> Iterator[Ghosts]:
        found = self._lookup.by_ids(
            [document_id for _, document_id in candidates], self._after(), only_ids=True
        )
        if not found.complete:
            raise TransientError("mongo", "a list of ids did not fit one reply; trying again")
        self._time = found.time
        drops = [drop for drop, _ in candidates if drop.ident not in found.documents]
        if drops:
            yield Ghosts(drops, found.time)

    def _scan_by_id(self, shape: Retired) -> Iterator[list[Candidate]]:
        pattern = scan_pattern(shape.template)
        for keys in self._pages(
            lambda cursor: self._store.client.scan(cursor, match=pattern, count=SCAN_COUNT)
        ):
            candidates = []
            for key in keys:
                values = parse_key(shape.template, key)
                if values is not None:
                    ident = encode_key_value(values["_id"])
                    candidates.append((Drop(shape, ident, key.decode()), values["_id"]))
            if candidates:
                yield candidates

    def _scan_map(self, shape: Retired) -> Iterator[list[Candidate]]:
        name = self._control.keys_by_id(shape.name)
        for entries in self._pages(lambda cursor: self._store.client.hscan(name, cursor, count=SCAN_COUNT)):
            idents = [ident.decode() for ident in entries]
            yield [(Drop(shape, ident, None), decode_key_value(ident)) for ident in idents]

    def _pages(self, scan: Callable[[int], Any]) -> Iterator[Iterable[bytes]]:
        cursor = 0
        while True:
            with translated():
                cursor, page = scan(cursor)
            if page:
                yield page
            if cursor == 0:
                return

    def _retired(self, shape: Retired) -> Iterator[Ghosts]:
        """Keys of a projection that the contract no longer has, except those that another one took over."""
        for candidates in self._scan_by_id(shape) if shape.by_id else self._scan_map(shape):
            drops = [drop for drop, _ in candidates if not self._is_claimed(drop)]
            if drops:
                yield Ghosts(drops, self._after())

    def _is_claimed(self, drop: Drop) -> bool:
        if drop.key is None:
            return False
        for shape in self._plan.shapes:
            if shape.by_id and parse_key(shape.template, drop.key.encode()) is not None:
                return True
            if not shape.by_id:
                with translated():
                    if self._store.client.hexists(self._control.ids_by_key(shape.name), drop.key):
                        return True
        return False
