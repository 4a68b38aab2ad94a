"""Finds members of shared keys whose documents are gone, member by member: a shared key never goes as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.keys.templates import decode_key_value, parse_key
from syncd.plan.to_redis.change import Drop, Leave, MapBegins, MapIsWhole, Retired, Stray
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.stores.redis.members import Member, Members, weight
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.copier import Reads
from syncd.to_redis.copy.survey import Orphans, Survey


class MemberSweep:
    """Of one run. Only reads."""

    def __init__(self, run: RunContext, reads: Reads) -> None:
        lane = run.lane
        self._members = Members(lane.redis, lane.control)
        self._partition, self._lookup, self._reads = lane.control.partition, run.lookup, reads
        self._foreign_keys = run.foreign_keys
        self.shapes = [shape for shape in lane.plan.shapes if isinstance(shape, MemberShape)]

    @property
    def maps_are_whole(self) -> bool:
        """Whether all documents that were copied are in the maps."""
        return all(self._members.is_whole(shape) for shape in self.shapes)

    def begun(self) -> list[MapBegins]:
        """What a copy begins with."""
        return [MapBegins(shape) for shape in self.shapes]

    def finished(self) -> list[MapIsWhole]:
        """What says so behind a copy."""
        return [MapIsWhole(shape) for shape in self.shapes]

    def without_document(self, shape: MemberShape, survey: Survey) -> Iterator[Orphans]:
        """By the map, and members that are in no map. `survey` learns how many members there are."""
        retired = Retired(shape.name, shape.type, shape.template)
        for page in self._members.in_map(retired):
            survey.keys += weight(retired, page)
            yield self._gone(retired, page)
        # What is in no map is nothing's only where the map was not lost since all was copied.
        if self._partition.leads and self._members.is_known(shape):
            for members in self._members.unmapped(shape):
                yield self._strays(retired, members, survey)

    def _gone(self, shape: Retired, page: Mapping[str, list[tuple[str, str]]]) -> Orphans:
        ids = {ident: decode_key_value(ident) for ident in page}
        found = self._lookup.there(list(ids.values()), self._reads.after())
        self._reads.saw(found.time)
        gone = [ident for ident in ids if ident not in found.documents]
        own = self._lookup.own([ids[ident] for ident in gone])
        ours = [ident for ident, is_own in zip(gone, own, strict=True) if is_own]
        count = weight(shape, {ident: page[ident] for ident in ours})
        return Orphans([Drop(shape, ident, None) for ident in ours], found.time, members=count)

    def _strays(self, shape: Retired, members: list[Member], survey: Survey) -> Orphans:
        strange = self._foreign_keys.among(sorted({one.key for one in members}))
        ours = [one for one in members if one.key not in strange]
        if not self._partition.is_whole:
            ours = self._of_no_document(shape, ours)
        survey.keys += len(ours)
        return Orphans([Stray(shape, *one) for one in ours], self._reads.after(), members=len(ours))

    def _of_no_document(self, shape: Retired, members: list[Member]) -> list[Member]:
        """Without those of documents that are not in the map: another partition may have yet to copy them."""
        known = self._members.said(shape, sorted({one.ident for one in members}))
        ids = {one.ident: decode_key_value(one.ident) for one in members if one.ident not in known}
        found = self._lookup.there(list(ids.values()), self._reads.after())
        return [one for one in members if one.ident not in found.documents]

    def retired(self, shape: Retired, kept: Sequence[KeyTemplate]) -> Iterator[Orphans]:
        """All members of a projection that the contract no longer has. In keys that may be whole ones of another
        projection by now, those that are `kept`, they stay: what has no document there, the sweep finds."""
        present = tuple(Retired(one.name, one.type, one.template) for one in self.shapes)
        maps = tuple(one for one in present if (one.name, one.template) != (shape.name, shape.template))
        for page in self._members.in_map(shape):
            gone = {
                ident: said
                for ident, said in page.items()
                if not any(parse_key(one, key.encode()) is not None for one in kept for key, _ in said)
            }
            leaves = [Leave(shape, ident, None, maps) for ident in gone]
            yield Orphans(leaves, self._reads.after(), "retired", members=weight(shape, gone))

    def count(self, shape: Retired) -> Iterator[int]:
        """Members by the map, page by page."""
        return self._members.count(shape)
