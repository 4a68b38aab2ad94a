"""Keeps MongoDB's digests of the documents that Redis shows, for contracts that are compared by them.

A copy brings the digest with the document. A change does not, for an update says only what changed: so the document
goes to a set of those whose digest is not known, in the step that writes it. In quiet moments MongoDB is asked for the
digests of those, as of one moment; when the stream has passed that moment, and brought none of them, they are stored.
"""

from __future__ import annotations

from syncd.plan.keys.templates import decode_key_value
from syncd.plan.to_redis.change import Changed, Dead, Drop, Elements, Hashed, Patch, Put, Write
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.times import ZERO, Moment, token_time
from syncd.stores.redis.records.keys.digests import Digests
from syncd.stores.redis.records.position import Position
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.apply.units import Draft, Sources, Unit, UnitCall
from syncd.to_redis.apply.watermarks import Watermarks

AT_ONCE = 5_000
_OF_DOCUMENTS = (Put, Elements, Patch, Drop, Dead)


class DigestsUnit(Unit):
    """Digests alone."""

    op = "digest"

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def _draft(self, call: UnitCall) -> Draft:
        return Draft([], sources=self._sources)


class DigestKeeper:
    """Of one run of a lane, used by its thread."""

    def __init__(self, digests: Digests, lookup: Lookup, watermarks: Watermarks) -> None:
        self._digests, self._lookup, self._watermarks = digests, lookup, watermarks
        self._asked: dict[str, tuple[int | None, int]] = {}
        self._time = self._drained = ZERO
        self._is_quiet = False
        """Whether nothing has changed since the stream had nothing more."""

    def drained(self, time: Moment) -> None:
        """The stream had nothing more when it had read everything up to `time`."""
        self._drained, self._is_quiet = time, True

    def noted(self, draft: Draft) -> list[Write]:
        """The writes of a call, and what they mean for digests."""
        writes, sources = draft.writes, draft.sources
        idents = {write.ident for write in writes if isinstance(write, _OF_DOCUMENTS)} - sources.keys()
        self._is_quiet = self._is_quiet and not idents
        if self._asked:
            for ident in idents:
                self._asked.pop(ident, None)
        # First: where Redis ends a call in the middle, no key may show a state that its digest does not know.
        changed: list[Write] = [Changed(sorted(idents))] if idents else []
        return [*changed, *writes, Hashed(sources)] if sources else [*changed, *writes]

    def keep(self, pipeline: Pipeline) -> bool:
        """Store what was asked for, or ask for more.

        Returns whether there is more to do, and nothing else: while changes go on, once a second is often enough.
        """
        if self._asked:
            if not self._has_passed(pipeline.position):
                return self._is_quiet
            pipeline.apply(DigestsUnit(self._asked))
            pipeline.drain()
            self._asked = {}
        idents = self._digests.some_changed(AT_ONCE)
        if idents:
            ids = [decode_key_value(ident) for ident in idents]
            self._asked, self._time = self._lookup.sources(ids, self._after(pipeline))
        return bool(idents) and self._is_quiet

    def _after(self, pipeline: Pipeline) -> Moment:
        return max(self._watermarks.horizon, pipeline.position.time)

    def _has_passed(self, position: Position) -> bool:
        """Whether every change was delivered up to when the digests were read."""
        # Behind a change there may be more of its transaction, all of one time; behind an empty reply there is nothing.
        reached = token_time(position.token) if position.token is not None else ZERO
        return reached > self._time or self._drained >= self._time
