"""Reads a whole collection in chunks, then finds keys whose documents are gone (the sweep). Only reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from syncd.errors import FOREIGN_LOST, FatalError, SweepLimitError
from syncd.plan.keys.templates import decode_key_value, encode_key_value, parse_key
from syncd.plan.to_redis.change import Drop, Orphan, Removal, Retired, RetiredKey, Stray
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.to_redis.shape import Shape
from syncd.stores.mongo.codes import is_about_document
from syncd.stores.mongo.reads.differing import Differing
from syncd.stores.mongo.store import code_of
from syncd.stores.mongo.times import Moment
from syncd.stores.paging import paged
from syncd.stores.redis.records.keys.key_maps import KeyMaps, holders
from syncd.stores.redis.records.layout import others_have_copied
from syncd.stores.redis.records.position import DIGEST, PURGE, SNAPSHOT, STREAM, SWEEP, ControlKeys, Position
from syncd.stores.redis.scan import SCAN_COUNT, Candidate, KeyScan
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.beginning import is_retired_key, other_types, retired_shapes
from syncd.to_redis.copy.copier import Chunk, Copied, Copier, Pause, Reads, Ready
from syncd.to_redis.copy.kept_keys import KeptKeys
from syncd.to_redis.copy.matched_sweep import MatchedSweep
from syncd.to_redis.copy.member_sweep import MemberSweep
from syncd.to_redis.copy.survey import Orphans, Survey, in_parts

PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class NextPhase:
    """All of the phase before was handed over."""

    phase: str


Item: TypeAlias = Copied | Orphans | NextPhase


class SnapshotReader:
    """Yields what is left to copy, then orphaned keys. Every read is at or after all that the stream wrote."""

    def __init__(
        self,
        run: RunContext,
        reads: Reads,
        copier: Copier,
        differing: Callable[[Moment], Differing] | None,
        estimate: Callable[[], int],
    ) -> None:
        """Reads and sweeps what belongs to the partition of the lane. `differing`: a search by digests, where Redis has
        them. `estimate`: how many documents there are, about."""
        self._plan, self._store, self._control = run.lane.plan, run.lane.redis, run.lane.control
        self._lookup, self._builder, self._reads, self._copier = run.lookup, run.builder, reads, copier
        self._indexes, self._foreign_keys = run.indexes, run.foreign_keys
        self._differing, self._estimate = differing, estimate
        self._scan = KeyScan(self._store, self._control)
        self._members, self._matched = MemberSweep(run, reads), MatchedSweep(run, reads)
        self._kept = KeptKeys(run, reads)
        self._maps = KeyMaps(self._store, self._control)
        self._copied = 0

    def items(self, position: Position) -> Iterator[Item]:
        """Everything from `position` to the end of the snapshot. Raises SweepLimitError."""
        self._copied = position.copied
        if position.phase == DIGEST:
            if not (yield from self._by_digests(position)):
                yield NextPhase(SNAPSHOT)
                yield from self._copy(position)
        else:
            yield from self._copy(position)
        if self._control.partition.leads:
            yield from self._retire(position)
            if self._members.shapes:
                yield Orphans(self._members.finished(), self._reads.after())
            if self._matched.feeds:
                time_of = self._reads.after()
                yield Orphans([*self._matched.finished(time_of)], time_of)
        yield NextPhase(STREAM)

    def _copy(self, position: Position) -> Iterator[Item]:
        if position.phase != SWEEP:
            if self._members.shapes and self._control.partition.leads and not position.copied:
                yield Orphans(self._members.begun(), self._reads.after())
            for item in self._checked(position):
                if isinstance(item, Chunk | Ready):
                    self._copied += len(item.documents if isinstance(item, Chunk) else item.encoded_writes)
                yield item
            yield NextPhase(SWEEP)
        if position.sweeps and self._plan.contract.sync.on_delete == "delete":
            yield from self._sweep(position)
        if position.sweeps:
            yield from self._matched.left()

    def _checked(self, position: Position) -> Iterator[Copied]:
        """What is left to copy, unless it takes the keys of documents that are there."""
        for item in self._copier.items(position.left):
            self._kept.learn(item)
            for shape, found in self._kept.surveys.items():
                if not position.allows(PURGE) and found.is_above(self._plan.contract.sync.sweep_limit):
                    self._refuse(
                        f"{found.gone} of {found.keys} documents with a key of `{shape.template.shown}` would have "
                        f"none: what projection `{shape.name}` is made of is not in them"
                    )
            yield item

    def _by_digests(self, position: Position) -> Generator[Item, None, bool]:
        """What differs. False where that is so much that a copy of everything is cheaper, or where so many documents
        are gone that their keys have to be counted, or where the filter fails on a document: a copy finds which."""
        assert self._differing is not None
        if self._matched.feeds or not self._members.maps_are_whole:
            return False
        search, gone = self._differing(self._reads.after()), Survey()
        try:
            for ids in search.pages():
                gone.found += yield from self._looked_up(ids)
        except FatalError as error:
            if not is_about_document(code_of(error)):
                raise
            return False
        gone.gone = len(gone.found)
        gone.keys = self._estimate() + gone.gone
        if search.is_too_much or not self._may(position, gone):
            return False
        self._copied = self._estimate()
        for ids in paged(gone.found, SCAN_COUNT):
            yield from self._looked_up(ids, drop=True)
        return True

    def _looked_up(self, ids: list[Any], *, drop: bool = False) -> Generator[Item, None, list[Any]]:
        """Copies what is there. Returns the `_id` of those that are not; `drop`: has their keys removed."""
        left: list[Any] = []
        for part, found in self._lookup.in_parts(ids, self._reads.after, digests=True) if ids else ():
            self._reads.saw(found.time)
            if found.documents:
                yield Chunk(list(found.documents.values()), found.time)
            gone = {encode_key_value(i): i for i in part if encode_key_value(i) not in found.documents}
            drops = [d for ident, i in gone.items() for d in self._builder.missing(ident, i)]
            if drop and drops:
                yield Orphans([one for one in drops if isinstance(one, Drop)], found.time)
            left += gone.values()
        return left

    def _may(self, position: Position, found: Survey) -> bool:
        """Whether so many keys may go."""
        if found.gone > 0 and self._foreign_keys.are_lost:
            return False
        # Both ways, a key without a document may be one that MongoDB has yet to get.
        is_allowed = self._plan.contract.is_two_way or position.allows(PURGE)
        return is_allowed or not found.is_above(self._plan.contract.sync.sweep_limit)

    def _refuse(self, what: str) -> NoReturn:
        why = f"; {FOREIGN_LOST}" if self._foreign_keys.are_lost else ""
        raise SweepLimitError(self._plan.name, what + why)

    def _retire(self, position: Position) -> Iterator[Item]:
        retired = retired_shapes(self._plan, position.owned)
        before = other_types(self._plan, position.owned)
        while (retired or before) and not self._may_retire():
            yield Pause()
            time.sleep(PAUSE_S)
        yield from self._may_go(position, retired)
        yield from self._may_change(position, before)
        for shape in retired:
            yield from self._retired(shape)
        for shape in before:
            yield from self._of_another_type(shape)

    def _may_go(self, position: Position, retired: list[Retired]) -> Iterator[Item]:
        """An edit replaces keys by others. Those of which there are more than came in their place are not replaced."""
        for shape in retired:
            found = Survey()
            for orphans in self._retired(shape):
                # Of elements their documents count, here and where keys without a document are counted.
                found.keys += orphans.members or len({drop.ident for drop in orphans.drops})
                yield Pause()
            in_place, what = yield from self._in_place_of(shape)
            found.gone = found.keys - in_place
            if (found.keys and self._foreign_keys.are_lost) or not self._may(position, found):
                self._refuse(
                    f"{found.keys} keys of `{shape.template.shown}`, which the contract has no more, would go, and "
                    f"there are {in_place} {what} in their place"
                )

    def _may_change(self, position: Position, before: list[Retired]) -> Iterator[Item]:
        """The same of keys that no document has replaced where a projection has another type."""
        for shape in before:
            found = Survey()
            for orphans in self._of_another_type(shape):
                found.gone += orphans.count
                yield Pause()
            found.keys, _ = (yield from self._in_place_of(shape)) if found.gone else (0, "")
            if not self._may(position, found):
                self._refuse(
                    f"{found.gone} of {found.keys} keys of `{shape.template.shown}` would go: they are of `type: "
                    f"{shape.type}`, as before, and their documents have not become what they are to be now"
                )

    def _in_place_of(self, retired: Retired) -> Generator[Item, None, tuple[int, str]]:
        """How many there are now, and of what: keys of the projection, or documents where it is gone."""
        shapes = [shape for shape in self._plan.shapes if shape.name == retired.name]
        if not shapes:
            return self._copied * self._control.partition.count, f"documents of {self._shown_source}"
        found = Survey()
        for one in [Retired(shape.name, shape.type, shape.template) for shape in shapes]:
            for count in self._members.count(one) if one.is_shared else ():
                found.keys += count
                yield Pause()
            for candidates in self._scan.candidates(one) if not one.is_shared else ():
                self._ours(candidates, found)
                yield Pause()
        return found.keys, f"keys of `{shapes[0].template.shown}`"

    @property
    def _shown_source(self) -> str:
        matching = " with this filter" if self._plan.filter is not None else ""
        return f"{self._plan.contract.shown_collection}{matching}"

    def _may_retire(self) -> bool:
        """Not while queries still go to the old generation of an index, which finds nothing but these keys, and not
        while another partition has yet to write its new ones."""
        return not self._indexes.is_building and others_have_copied(
            self._store, self._control, self._plan.fingerprint
        )

    def _sweep(self, position: Position) -> Iterator[Item]:
        """First what would go, and only then, where that is not too much, removes it."""
        found = Survey()
        for orphans in self._without_document(found):
            found.add(orphans)
            yield Pause()
        found.keys = max(found.keys // self._control.partition.count, found.gone)
        if not self._may(position, found):
            self._refuse(
                f"{found.gone} of {found.keys} keys would be removed, for which {self._shown_source} has no document"
            )
        for drops, _ in in_parts(found.found, lambda: SCAN_COUNT) if found.is_whole else ():
            yield from self._gone_still(drops)
        if not found.is_whole:
            yield from (orphans for orphans in self._without_document(Survey()) if orphans.drops)

    def _without_document(self, survey: Survey) -> Iterator[Orphans]:
        """Keys without a document, page by page, also where a page has none. `survey` learns how many there are."""
        for shape in self._plan.shapes:
            if isinstance(shape, MemberShape):
                yield from self._members.without_document(shape, survey)
                continue
            retired = Retired(shape.name, shape.type, shape.template)
            for candidates in self._scan.candidates(retired):
                yield self._gone(self._ours(candidates, survey))
            if not shape.by_id and self._control.partition.leads:
                yield from self._orphans(shape, retired)

    def _ours(self, candidates: list[Candidate], survey: Survey) -> list[Candidate]:
        """Without the keys of an application."""
        strange = self._foreign_keys.among([drop.key for drop, _ in candidates if drop.key is not None])
        found = [one for one in candidates if one[0].key not in strange]
        survey.keys += len(found)
        return found

    def _gone_still(self, drops: list[Removal]) -> Iterator[Orphans]:
        """Check once more what was found a while ago. Of a member that is in no map Redis does."""
        if strays := [drop for drop in drops if isinstance(drop, Stray)]:
            yield Orphans(strays, self._reads.after())
        no_owner = [drop for drop in drops if isinstance(drop, Orphan)]
        for shape in self._plan.shapes:
            mine = [orphan for orphan in no_owner if orphan.shape.template.text == shape.template.text]
            yield from self._without_holder(shape, {one.key: one for one in mine})
        rest = [(drop, decode_key_value(drop.ident)) for drop in drops if isinstance(drop, Drop)]
        orphans = self._gone(rest)
        if orphans.drops:
            yield orphans

    def _orphans(self, shape: Shape, retired: Retired) -> Iterator[Orphans]:
        """Keys that neither the maps nor MongoDB connect with a document: entries of the maps were lost."""
        for page in self._scan.keys(retired):
            keys = [key.decode() for key in page if parse_key(shape.template, key) is not None]
            strange = self._foreign_keys.among(keys)
            held = self._maps.of(retired, [key for key in keys if key not in strange])
            yield from self._without_holder(
                shape, {one.key: Orphan(retired, "", one.key, one.said) for one in held if not one.is_sound}
            )

    def _without_holder(self, shape: Shape, orphans: dict[str, Orphan]) -> Iterator[Orphans]:
        for found in holders(self._lookup, shape, list(orphans), self._reads.after()):
            self._reads.saw(found.time)
            left: list[Removal] = [orphans[key] for key, documents in found.by_key.items() if not documents]
            if left:
                yield Orphans(left, found.time)

    def _gone(self, candidates: list[Candidate]) -> Orphans:
        """Those without a document."""
        found = self._lookup.there([document_id for _, document_id in candidates], self._reads.after())
        self._reads.saw(found.time)
        gone = [entry for entry in candidates if entry[0].ident not in found.documents]
        own = self._lookup.own([document_id for _, document_id in gone])
        # Watermarks and changes of the others are not known here: they remove their orphaned keys themselves.
        return Orphans([drop for (drop, _), ours in zip(gone, own, strict=True) if ours], found.time)

    def _retired(self, shape: Retired) -> Iterator[Orphans]:
        """Keys of a projection that the contract no longer has, except those that another projection has taken over, or
        that another contract will take."""
        if shape.is_shared:
            whole = [one for one in self._plan.shapes if one.has_whole(shape)]
            kept = [one.template for one in whole if one.redis_type == shape.redis_type]
            yield from self._members.retired(shape, kept)
            yield Orphans(self._retired_maps(shape), self._reads.after(), "retired")
            return
        present = [Retired(s.name, s.type, s.template) for s in self._plan.shapes]
        goes = is_retired_key(self._plan, shape)
        maps = tuple(s for s in present if not s.by_id and not s.is_shared)
        for keys in self._retired_by_id(shape) if shape.by_id else self._retired_by_map(shape):
            yield from self._replaced(shape, [key for _, key in keys], present)
            strange = self._foreign_keys.among([key for _, key in keys])
            orphans: list[Removal] = [
                RetiredKey(shape, ident, key, maps) for ident, key in keys if key not in strange and goes(key)
            ]
            if orphans:
                yield Orphans(orphans, self._reads.after(), "retired")
        if not shape.by_id:
            yield Orphans(self._retired_maps(shape), self._reads.after(), "retired")

    def _of_another_type(self, shape: Retired) -> Iterator[Orphans]:
        """Keys that are of the type of before: their documents were not there when the copy came by, or do not fit. A
        change that comes for one of them would not find the type that it writes."""
        for page in self._scan.keys(shape, kind=shape.redis_type):
            keys = [key.decode() for key in page if parse_key(shape.template, key) is not None]
            strange = self._foreign_keys.among(keys)
            left = [
                Orphan(shape, "", key, said)
                for key, said in self._said_of(shape, [key for key in keys if key not in strange])
            ]
            if left:
                yield Orphans(left, self._reads.after(), "retired")

    def _said_of(self, shape: Retired, keys: list[str]) -> list[tuple[str, str]]:
        """Each key with what the map says of it."""
        has_map = keys and not shape.by_id and not shape.is_shared
        said = {held.key: held.said for held in self._maps.of(shape, keys)} if has_map else {}
        return [(key, said.get(key, "")) for key in keys]

    def _replaced(self, shape: Retired, keys: list[str], present: list[Retired]) -> Iterator[Orphans]:
        """Keys that documents share now, and that no document has replaced yet: they are of the type of before."""
        if not any(one.is_shared and one.redis_type != shape.redis_type for one in present):
            return
        shared = [one.template for one in present if one.is_shared]
        strange = self._foreign_keys.among(keys)
        found = [
            key
            for key in keys
            if key not in strange
            and any(parse_key(template, key.encode()) is not None for template in shared)
        ]
        left = [Orphan(shape, "", key, said) for key, said in self._said_of(shape, found)]
        if left:
            yield Orphans(left, self._reads.after(), "retired")

    def _retired_by_id(self, shape: Retired) -> Iterator[list[tuple[str, str]]]:
        for candidates in self._scan.by_id(shape):
            yield [(drop.ident, drop.key) for drop, _ in candidates if drop.key is not None]

    def _retired_by_map(self, shape: Retired) -> Iterator[list[tuple[str, str]]]:
        for entries in self._scan.maps(shape):
            yield [(ident, key) for ident, keys in entries.items() for key in keys]

    def _retired_maps(self, shape: Retired) -> list[Removal]:
        """The maps themselves, which are hashes like any other."""
        found: list[Removal] = []
        for node in self._store.nodes:
            found += _maps_of(shape, self._control.at(node.place))
        return found


def _maps_of(shape: Retired, control: ControlKeys) -> list[RetiredKey]:
    name, template = shape.name, shape.template.text
    as_hash, as_zset = (Retired(name, kind, shape.template) for kind in ("hash", "zset"))
    if shape.is_shared:
        deadlines = RetiredKey(as_zset, "", control.deadlines(name, template), ())
        return [RetiredKey(as_hash, "", control.members(name, template), ()), deadlines]
    names = control.keys_by_id(name, template), control.ids_by_key(name, template)
    return [RetiredKey(as_hash, "", key, ()) for key in names]
