"""Units of a snapshot: what is copied, and what is found without its document."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

from syncd.plan.keys.templates import decode_key_value, encode_key_value
from syncd.plan.to_redis.change import Drop, Judged, Write
from syncd.plan.to_redis.digest import SOURCE
from syncd.plan.to_redis.encoded_writes import Sent, writes
from syncd.plan.values.raw import encode
from syncd.stores.mongo.reads.ranges import Range
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment
from syncd.stores.redis.records.position import Position
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.builder import Builder
from syncd.to_redis.apply.units import DocumentsUnit, Draft, Sources, Step, Unit, UnitCall
from syncd.to_redis.apply.watermarks import Coverage
from syncd.to_redis.copy.copier import Chunk, Cut, RangeEnd, Ready
from syncd.to_redis.copy.survey import Orphans, in_parts

Found = TypeVar("Found")


def units_of(
    builder: Builder,
    item: Chunk | Ready | Cut | RangeEnd | Orphans,
    log: ApplyLog[Unit, Any],
    at_once: Callable[[], int],
) -> Iterator[Unit]:
    """The calls that an item takes. `at_once`: documents of the next one."""
    if isinstance(item, Cut):
        yield Step(left=item.ranges)
    elif isinstance(item, RangeEnd):
        yield RangeEndUnit(item.number)
    elif isinstance(item, Chunk):
        log.chunks_from(item.oldest or item.time)
        for part, _ in in_parts(item.documents, at_once):
            yield SliceUnit(builder, part, item)
    elif isinstance(item, Ready):
        log.chunks_from(item.oldest)
        for idents, last in in_parts(list(item.encoded_writes), at_once):
            yield ReadyUnit(builder, idents, item, last=last)
    else:
        log.chunks_from(item.time)
        for drops, _ in in_parts(item.drops, at_once):
            yield OrphansUnit(builder, Orphans(drops, item.time, item.why))


class _RangeUnit(Unit):
    """What a read of many documents at `time` found, without those that the stream has written since."""

    def __init__(self, builder: Builder, time: Moment) -> None:
        self._builder, self._time = builder, time

    def _choose(self, idents: Collection[str]) -> set[str]:
        newer = self._builder.watermarks.newer(idents, self._time)
        return set(idents) - newer if newer else set(idents)

    @property
    def _covers(self) -> Coverage:
        return Coverage(range_time=self._time)


class _CopyUnit(_RangeUnit, DocumentsUnit, Generic[Found]):
    """Documents of a snapshot by ident, in `_id` order. `end`: {"_id": last} of them as BSON, when all of the range up
    to there is copied with them."""

    op = "snapshot"

    def __init__(
        self, builder: Builder, documents: dict[str, Found], sources: Sources, item: Chunk | Ready, end: bytes
    ) -> None:
        super().__init__(builder, item.time)
        self._documents, self._sources = documents, sources
        self._number, self._end = item.number, end
        self.size = self._copied = len(documents)

    @abstractmethod
    def _copies(self, documents: dict[str, Found]) -> list[Write]: ...

    def _draft(self, call: UnitCall) -> Draft:
        documents, sources = self._documents, self._sources
        chosen = self._choose(documents)
        if len(chosen) < len(documents):
            documents = {ident: document for ident, document in documents.items() if ident in chosen}
            sources = {ident: source for ident, source in sources.items() if ident in chosen}
        if call.unfit is not None:
            return Draft(self._dead_letters(documents, call.unfit), self._covers, sources)
        return Draft(self._copies(documents), self._covers, sources)

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {"documentKey": {"_id": decode_key_value(ident)}, "time": self._time}

    def after(self, position: Position) -> Position:
        """What is left begins behind the last document."""
        left = position.left
        if self._number is not None and self._end:
            left = {**left, self._number: Range(self._end, left[self._number].upto)}
        return replace(position, left=left, copied=position.copied + self._copied)


class SliceUnit(_CopyUnit[Document]):
    """A part of a chunk."""

    def __init__(self, builder: Builder, documents: list[Document], chunk: Chunk) -> None:
        self._all, self._chunk = documents, chunk
        found = {encode_key_value(document["_id"]): document for document in documents}
        sources = {ident: d.pop(SOURCE) for ident, d in found.items() if SOURCE in d}
        super().__init__(builder, found, sources, chunk, encode({"_id": documents[-1]["_id"]}))

    def _copies(self, documents: dict[str, Document]) -> list[Write]:
        return self._builder.copies(documents, self._time)

    def split(self) -> list[Unit]:
        """Two halves, each up to its last document."""
        for ident, source in self._sources.items():
            self._documents[ident][SOURCE] = source
        middle = len(self._all) // 2
        halves = self._all[:middle], self._all[middle:]
        return [SliceUnit(self._builder, half, self._chunk) for half in halves]


class ReadyUnit(_CopyUnit[list[Sent]]):
    """A part of what a worker made."""

    def __init__(self, builder: Builder, idents: list[str], ready: Ready, *, last: bool) -> None:
        """`last`: whether there is no more of it."""
        self._idents, self._ready, self._last = idents, ready, last
        found = {ident: ready.encoded_writes[ident] for ident in idents}
        sources = {ident: ready.sources[ident] for ident in idents if ident in ready.sources}
        super().__init__(builder, found, sources, ready, ready.end if last else b"")
        self._copied = len(ready.encoded_writes) if last else 0

    def _copies(self, documents: dict[str, list[Sent]]) -> list[Write]:
        return writes(self._builder.plan, documents.items(), self._time)

    def split(self) -> list[Unit]:
        """Two halves, of which the second may be the last."""
        middle = len(self._idents) // 2
        first, second = self._idents[:middle], self._idents[middle:]
        return [
            ReadyUnit(self._builder, first, self._ready, last=False),
            ReadyUnit(self._builder, second, self._ready, last=self._last),
        ]


class RangeEndUnit(Unit):
    """A range has nothing left."""

    def __init__(self, number: int) -> None:
        self._number = number

    def _draft(self, call: UnitCall) -> Draft:
        return Draft([])

    def after(self, position: Position) -> Position:
        """Without that range."""
        left = {number: part for number, part in position.left.items() if number != self._number}
        return replace(position, left=left)


class OrphansUnit(_RangeUnit):
    """Keys that the sweep found without a document. It has no cursor of its own: after a crash it starts again."""

    def __init__(self, builder: Builder, orphans: Orphans) -> None:
        super().__init__(builder, orphans.time)
        self.op = orphans.why
        self._drops = orphans.drops
        self.size = len(orphans.drops)

    def _draft(self, call: UnitCall) -> Draft:
        current = self._choose({drop.ident for drop in self._drops if isinstance(drop, Drop | Judged)})
        return Draft(self._builder.orphans(self._drops, current), self._covers)
