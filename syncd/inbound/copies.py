"""Units of a snapshot: what is copied, and what is found without its document."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from syncd.errors import ProjectionError, why_unfit
from syncd.inbound.copier import Chunk, Cut, RangeEnd, Ready
from syncd.inbound.floors import Floors
from syncd.inbound.snapshot import Ghosts
from syncd.inbound.units import Step, Unit
from syncd.plan.change import Dead, Drop, Ghost, Orphan, Write
from syncd.plan.compile import Plan
from syncd.plan.digest import SOURCE
from syncd.plan.keys import decode_key_value, encode_key_value
from syncd.plan.parcel import Sent, writes
from syncd.plan.raw import encode
from syncd.stores.mongo import Document
from syncd.stores.position import Position
from syncd.stores.ranges import Range
from syncd.stores.times import Moment

Found = TypeVar("Found")


def units_of(
    plan: Plan, item: Chunk | Ready | Cut | RangeEnd | Ghosts, floors: Floors, at_once: Callable[[], int]
) -> Iterator[Unit]:
    """The calls that an item takes. `at_once`: documents of the next one."""
    if isinstance(item, Cut):
        yield Step(left=item.ranges)
    elif isinstance(item, RangeEnd):
        yield RangeEndUnit(item.number)
    elif isinstance(item, Chunk):
        for part, _ in _parts(item.documents, at_once):
            yield SliceUnit(plan, part, item, floors)
        floors.chunks_passed(item.oldest or item.time)
    elif isinstance(item, Ready):
        for idents, last in _parts(list(item.parcels), at_once):
            yield ReadyUnit(plan, idents, item, floors, last=last)
        floors.chunks_passed(item.oldest)
    else:
        for drops, _ in _parts(item.drops, at_once):
            yield GhostsUnit(Ghosts(drops, item.time, item.why), floors)
        floors.chunks_passed(item.time)


def _parts(found: Sequence[Found], at_once: Callable[[], int]) -> Iterator[tuple[list[Found], bool]]:
    """All of it in parts, and whether a part is the last. The size of a part is asked for when its turn comes."""
    at = 0
    while at < len(found):
        part = list(found[at : at + at_once()])
        at += len(part)
        yield part, at == len(found)


class _Looked(Unit):
    """Work on what a read of many documents at `time` found, without those that the stream has written since."""

    def __init__(self, floors: Floors, time: Moment) -> None:
        super().__init__()
        self._floors, self._time = floors, time
        self._chosen: set[str] = set()
        self._newer: set[str] = set()

    def _choose(self, idents: Collection[str]) -> set[str]:
        # What was newer at the first build is so at the next, though the floors may have forgotten it by then.
        self._newer |= self._floors.newer(idents, self._time)
        self._chosen = set(idents) - self._newer if self._newer else set(idents)
        return self._chosen

    def is_stale(self) -> bool:
        """Whether a call before had to be made again, with reads that are newer than this look."""
        return bool(self._floors.newer(self._chosen, self._time))

    @property
    def moves_floors(self) -> bool:
        """Changes up to the time of the look have to be read."""
        return True

    def confirmed(self) -> None:
        """Changes up to the time of the look may show."""
        self._floors.confirm_range(self._time)


class _CopyUnit(_Looked, Generic[Found]):
    """Documents of a snapshot by ident, in `_id` order. `end`: {"_id": last} of them as BSON, when all of the range up
    to there is copied with them."""

    op = "snapshot"

    def __init__(
        self,
        plan: Plan,
        documents: dict[str, Found],
        sources: dict[str, tuple[int | None, int]],
        time: Moment,
        floors: Floors,
        number: int | None,
        end: bytes,
    ) -> None:
        super().__init__(floors, time)
        self._plan, self._documents, self._sources = plan, documents, sources
        self._number, self._end = number, end
        self.size = self._copied = len(documents)

        self._why: ProjectionError | None = None

    @abstractmethod
    def _copies(self, documents: dict[str, Found]) -> list[Write]: ...

    def unfit(self, error: Exception) -> None:
        """Its document becomes a dead letter."""
        if self._why is not None:
            raise error
        self._why = why_unfit(error)

    def _writes(self) -> list[Write]:
        documents = self._documents
        chosen = self._choose(documents)
        if self._sources:
            self.sources = {ident: source for ident, source in self._sources.items() if ident in chosen}
        if len(chosen) < len(documents):
            documents = {ident: document for ident, document in documents.items() if ident in chosen}
        if self._why is None:
            return self._copies(documents)
        reason, detail = self._why.reason, self._why.detail
        return [
            Dead(shape.name, ident, "", reason, detail, self._change_of(ident))
            for ident in documents
            for shape in self._plan.shapes
        ]

    def _change_of(self, ident: str) -> dict[str, Any]:
        return {"documentKey": {"_id": decode_key_value(ident)}, "time": self._time}

    def after(self, position: Position) -> Position:
        """What is left begins behind the last document."""
        left = position.left
        if self._number is not None and self._end:
            left = {**left, self._number: Range(self._end, left[self._number].upto)}
        return replace(
            position, left=left, copied=position.copied + self._copied, mark=max(position.mark, self._time)
        )


class SliceUnit(_CopyUnit[Document]):
    """A part of a chunk."""

    def __init__(self, plan: Plan, documents: list[Document], chunk: Chunk, floors: Floors) -> None:
        self._all, self._chunk = documents, chunk
        found = {encode_key_value(document["_id"]): document for document in documents}
        sources = {ident: d.pop(SOURCE) for ident, d in found.items() if SOURCE in d}
        end = encode({"_id": documents[-1]["_id"]})
        super().__init__(plan, found, sources, chunk.time, floors, chunk.number, end)

    def _copies(self, documents: dict[str, Document]) -> list[Write]:
        return self._plan.copies(documents, self._time)

    def split(self) -> list[Unit]:
        """Two halves, each up to its last document."""
        for ident, source in self._sources.items():
            self._documents[ident][SOURCE] = source
        middle = len(self._all) // 2
        halves = self._all[:middle], self._all[middle:]
        return [SliceUnit(self._plan, half, self._chunk, self._floors) for half in halves]


class ReadyUnit(_CopyUnit[list[Sent]]):
    """A part of what a worker made."""

    def __init__(self, plan: Plan, idents: list[str], ready: Ready, floors: Floors, *, last: bool) -> None:
        """`last`: whether there is no more of it."""
        self._idents, self._ready, self._last = idents, ready, last
        found = {ident: ready.parcels[ident] for ident in idents}
        sources = {ident: ready.sources[ident] for ident in idents if ident in ready.sources}
        super().__init__(plan, found, sources, ready.time, floors, ready.number, ready.end if last else b"")
        self._copied = len(ready.parcels) if last else 0

    def _copies(self, documents: dict[str, list[Sent]]) -> list[Write]:
        return writes(self._plan, documents.items(), self._time)

    def split(self) -> list[Unit]:
        """Two halves, of which the second may be the last."""
        middle = len(self._idents) // 2
        first, second = self._idents[:middle], self._idents[middle:]
        return [
            ReadyUnit(self._plan, first, self._ready, self._floors, last=False),
            ReadyUnit(self._plan, second, self._ready, self._floors, last=self._last),
        ]


class RangeEndUnit(Unit):
    """A range has nothing left."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def _writes(self) -> list[Write]:
        return []

    def after(self, position: Position) -> Position:
        """Without that range."""
        left = {number: part for number, part in position.left.items() if number != self._number}
        return replace(position, left=left)


class GhostsUnit(_Looked):
    """Keys that the sweep found without a document."""

    def __init__(self, ghosts: Ghosts, floors: Floors) -> None:
        super().__init__(floors, ghosts.time)
        self.op = ghosts.why
        self._drops = ghosts.drops
        self.size = len(ghosts.drops)

    def _writes(self) -> list[Write]:
        # The stream writes no key of a projection that is gone; all others it may have written since the look.
        chosen = self._choose({drop.ident for drop in self._drops if isinstance(drop, Drop)})
        return [drop for drop in self._drops if isinstance(drop, Ghost | Orphan) or drop.ident in chosen]

    def after(self, position: Position) -> Position:
        """The sweep has no cursor of its own: after a crash it starts again."""
        return replace(position, mark=max(position.mark, self._time))
