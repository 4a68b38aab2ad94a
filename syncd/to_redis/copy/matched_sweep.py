"""What a copy tells readers of change feeds of a contract with a filter: which documents have left. Only reads."""

from __future__ import annotations

from collections.abc import Iterator

from syncd import telemetry
from syncd.plan.keys.templates import decode_key_value
from syncd.plan.to_redis.change import RELOAD, MatchedIsWhole, Removal
from syncd.plan.to_redis.change_feed import ChangeFeed
from syncd.stores.mongo.times import Moment, seconds
from syncd.stores.redis.records.keys.matched import WHOLE, MatchedSets
from syncd.to_redis.apply.filtered_entries import left
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.copier import Reads
from syncd.to_redis.copy.survey import Orphans

RELOADED = "matching documents not known"
"""Why there is a gap: what readers know may be wrong."""


class MatchedSweep:
    """Of one run."""

    def __init__(self, run: RunContext, reads: Reads) -> None:
        lane = run.lane
        self._name, self._lookup, self._reads = lane.plan.name, run.lookup, reads
        self._sets = MatchedSets(lane.redis, lane.control)
        self.feeds = [feed for feed in lane.plan.feeds if feed.filtered]

    def left(self) -> Iterator[Orphans]:
        """Documents of which readers know, and that match no more."""
        for feed in self.feeds:
            # A set that the copy fills has nothing from before it.
            for idents in self._sets.idents(feed) if self._sets.reached(feed) == WHOLE else ():
                yield self._without(feed, idents)

    def _without(self, feed: ChangeFeed, idents: list[str]) -> Orphans:
        ids = {ident: decode_key_value(ident) for ident in idents}
        found = self._lookup.there(list(ids.values()), self._reads.after())
        gone = {ident: ids[ident] for ident in idents if ident not in found.documents}
        there = self._lookup.there(list(gone.values()), found.time, every=True)
        self._reads.saw(found.time)
        said: list[Removal] = [
            left(feed, ident, found.time, deleted=ident not in there.documents) for ident in gone
        ]
        return Orphans(said, found.time)

    def finished(self, time: Moment) -> Iterator[MatchedIsWhole]:
        """What says behind a copy that all documents are known that match."""
        for feed in self.feeds:
            reached = self._sets.reached(feed)
            gap = None
            if reached == RELOAD:
                telemetry.feed_gap(self._name, feed.name, RELOADED)
                gap = feed.gap("", seconds(time) * 1000, RELOADED)
            if reached != WHOLE:
                yield MatchedIsWhole(feed, gap)
