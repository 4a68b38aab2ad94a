"""Reads a whole collection in chunks, then finds keys whose documents are gone (the sweep). Only reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from syncd.contract.template import KeyTemplate
from syncd.errors import TransientError
from syncd.inbound.copier import Chunk, Copied, Copier, Pause, Reads
from syncd.inbound.index import Indexes
from syncd.inbound.stream import Batch
from syncd.plan.change import Drop, Ghost, Orphan, Retired
from syncd.plan.claims import others_that_meet
from syncd.plan.compile import Plan
from syncd.plan.keys import encode_key_value, parse_key
from syncd.plan.project import Shape
from syncd.stores.differing import Differing
from syncd.stores.key_maps import KeyMaps, holders
from syncd.stores.layout import others_have_copied
from syncd.stores.lookup import Lookup
from syncd.stores.position import DIGEST, SNAPSHOT, STREAM, SWEEP, ControlKeys, Position
from syncd.stores.redis import RedisStore
from syncd.stores.scan import Candidate, KeyScan
from syncd.stores.times import Moment

PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Ghosts:
    """Keys that have to go: their documents were not there at `time`."""

    drops: Sequence[Drop | Ghost | Orphan]
    time: Moment


@dataclass(frozen=True, slots=True)
class NextPhase:
    """All of the phase before was handed over."""

    phase: str


Item: TypeAlias = Copied | Ghosts | NextPhase


def beginning(plan: Plan, old: Position, first: Batch, deployment: str, *, by_digests: bool) -> Position:
    """Where a copy begins, beside a stream of `deployment` that begins with `first`. `by_digests`: whether Redis may
    have them; then a position that was lost costs what differs."""
    is_known = old.next == DIGEST and by_digests and old.fingerprint == plan.fingerprint
    return Position(
        token=first.token,
        time=first.time,
        mark=first.time,
        phase=DIGEST if is_known else SNAPSHOT,
        fingerprint=plan.fingerprint,
        owned=plan.owned + [entry for entry in old.owned if entry not in plan.owned],
        next=SWEEP if old.next == DIGEST else old.next,
        deployment=deployment,
    )


class SnapshotReader:
    """Yields what is left to copy, then ghosts. Every read is at or after all that the stream wrote."""

    def __init__(
        self,
        plan: Plan,
        lookup: Lookup,
        reads: Reads,
        copier: Copier,
        store: RedisStore,
        control: ControlKeys,
        indexes: Indexes,
        differing: Callable[[Moment], Differing] | None,
    ) -> None:
        """Reads and sweeps what belongs to the partition of `control`. `differing`: a search by digests, where Redis
        has them."""
        self._plan, self._lookup, self._reads, self._copier = plan, lookup, reads, copier
        self._store, self._control, self._indexes = store, control, indexes
        self._differing = differing
        self._scan = KeyScan(store, control)
        self._maps = KeyMaps(store, control)

    def items(self, position: Position) -> Iterator[Item]:
        """Everything from `position` to the end of the snapshot."""
        if position.phase == DIGEST:
            if not (yield from self._by_digests()):
                yield NextPhase(SNAPSHOT)
                yield from self._copy(position)
        else:
            yield from self._copy(position)
        if self._control.partition.leads:
            yield from self._retire(position)
        yield NextPhase(STREAM)

    def _copy(self, position: Position) -> Iterator[Item]:
        if position.phase != SWEEP:
            yield from self._copier.items(position.left)
            yield NextPhase(SWEEP)
        if position.next == SWEEP and self._plan.contract.sync.on_delete == "delete":
            yield from self._sweep()

    def _by_digests(self) -> Generator[Item, None, bool]:
        """What differs. False where that is so much that a copy of everything is cheaper."""
        assert self._differing is not None
        search = self._differing(self._reads.after())
        for ids in search.pages():
            yield from self._looked_up(ids)
        return not search.is_too_much

    def _looked_up(self, ids: list[Any]) -> Iterator[Item]:
        if not ids:
            return
        found = self._lookup.by_ids(ids, self._reads.after(), digests=True)
        if not found.complete and len(ids) > 1:
            yield from self._looked_up(ids[: len(ids) // 2])
            yield from self._looked_up(ids[len(ids) // 2 :])
            return
        self._reads.saw(found.time)
        if found.documents:
            yield Chunk(list(found.documents.values()), found.time)
        gone = {encode_key_value(i): i for i in ids if encode_key_value(i) not in found.documents}
        drops = [d for ident, i in gone.items() for d in self._plan.drops(ident, i, deleted=False)]
        if drops:
            yield Ghosts([drop for drop in drops if isinstance(drop, Drop)], found.time)

    def _retire(self, position: Position) -> Iterator[Item]:
        present = {(shape.name, shape.template.text) for shape in self._plan.shapes}
        # What another contract takes, with its map, is not ours to remove, also while that one has yet to begin.
        given = {text for name, text in self._plan.templates if name != self._plan.name}
        retired = [
            entry for entry in position.owned if (entry[0], entry[1]) not in present and entry[1] not in given
        ]
        while retired and not self._may_retire():
            yield Pause()
            time.sleep(PAUSE_S)
        for name, template, kind in retired:
            yield from self._retired(Retired(name, kind, KeyTemplate.parse(template)))

    def _may_retire(self) -> bool:
        """Not while queries still go to the old generation of an index, which finds nothing but these keys; nor while
        another partition has yet to write its new ones."""
        return not self._indexes.is_building and others_have_copied(
            self._store, self._control, self._plan.fingerprint
        )

    def _sweep(self) -> Iterator[Ghosts]:
        for shape in self._plan.shapes:
            retired = Retired(shape.name, shape.type, shape.template)
            for candidates in self._scan.candidates(retired):
                yield from self._ghosts(candidates)
            if not shape.by_id and self._control.partition.leads:
                yield from self._orphans(shape, retired)

    def _orphans(self, shape: Shape, retired: Retired) -> Iterator[Ghosts]:
        """Keys of which the maps do not tell whose they are, and MongoDB neither: entries of the maps were lost."""
        for page in self._scan.keys(retired):
            keys = [key.decode() for key in page if parse_key(shape.template, key) is not None]
            held_by = {held.key: held for held in self._maps.of(retired, keys) if not held.is_sound}
            for found in holders(self._lookup, shape, list(held_by), self._reads.after()):
                self._reads.saw(found.time)
                left = [held_by[key] for key, documents in found.by_key.items() if not documents]
                if left:
                    yield Ghosts([Orphan(retired, "", one.key, one.said) for one in left], found.time)

    def _ghosts(self, candidates: list[Candidate]) -> Iterator[Ghosts]:
        found = self._lookup.by_ids(
            [document_id for _, document_id in candidates], self._reads.after(), only_ids=True
        )
        if not found.complete:
            raise TransientError("mongo", "a list of ids did not fit one reply; trying again")
        self._reads.saw(found.time)
        gone = [entry for entry in candidates if entry[0].ident not in found.documents]
        own = self._lookup.own([document_id for _, document_id in gone])
        # Floors and changes of the others are not known here: their ghosts are theirs to remove.
        drops = [drop for (drop, _), ours in zip(gone, own, strict=True) if ours]
        if drops:
            yield Ghosts(drops, found.time)

    def _retired(self, shape: Retired) -> Iterator[Ghosts]:
        """Keys of a projection that the contract no longer has, except those that another projection has taken over, or
        that another contract will take."""
        present = [Retired(s.name, s.type, s.template) for s in self._plan.shapes]
        others = [template for template in others_that_meet(self._plan, shape.template) if template.by_id]
        by_id = [*(s.template for s in present if s.by_id), *others]
        maps = tuple(s for s in present if not s.by_id)
        for keys in self._retired_by_id(shape) if shape.by_id else self._retired_by_map(shape):
            ghosts: list[Drop | Ghost | Orphan] = [
                Ghost(shape, ident, key, maps)
                for ident, key in keys
                if not any(parse_key(template, key.encode()) is not None for template in by_id)
            ]
            if ghosts:
                yield Ghosts(ghosts, self._reads.after())
        if not shape.by_id:
            yield Ghosts(self._retired_maps(shape), self._reads.after())

    def _retired_by_id(self, shape: Retired) -> Iterator[list[tuple[str, str]]]:
        for candidates in self._scan.by_id(shape):
            yield [(drop.ident, drop.key) for drop, _ in candidates if drop.key is not None]

    def _retired_by_map(self, shape: Retired) -> Iterator[list[tuple[str, str]]]:
        for entries in self._scan.maps(shape):
            yield [(ident.decode(), key.decode()) for ident, key in entries.items()]

    def _retired_maps(self, shape: Retired) -> list[Drop | Ghost | Orphan]:
        """The maps themselves, which are hashes like any other."""
        name, template = shape.name, shape.template.text
        as_hash = Retired(name, "hash", shape.template)
        names = (self._control.keys_by_id(name, template), self._control.ids_by_key(name, template))
        return [Ghost(as_hash, "", key, ()) for key in names]
