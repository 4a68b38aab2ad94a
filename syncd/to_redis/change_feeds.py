"""What a run does for its change feeds before it writes the first entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from syncd import telemetry
from syncd.errors import FatalError
from syncd.plan.claims import KEY
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import FILLING, RELOAD, BeginMatched, OpenFeed, Write
from syncd.plan.to_redis.change_feed import ChangeFeed
from syncd.stores.mongo.times import Moment, seconds
from syncd.stores.redis.records.claims import new_claims, read_claims
from syncd.stores.redis.records.keys.matched import LOST, WHOLE, MatchedSets
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import KEEP, PURGE, ControlKeys, Fields, Position, read_fields
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_redis.stream.numbering import last_entry_id


def lost_feeds(plan: StreamPlan, matched: MatchedSets) -> list[ChangeFeed]:
    """Of a contract with a filter, change feeds of which it is not known which documents match."""
    return [feed for feed in plan.feeds if feed.filtered and matched.reached(feed) == LOST]


class ChangeFeeds:
    """Of one contract."""

    def __init__(self, plan: StreamPlan, store: RedisStore, control: ControlKeys, lease: Lease) -> None:
        self._plan, self._store, self._control, self._lease = plan, store, control, lease
        self._known: set[str] = set()
        """Feeds that had entries before this run."""
        self._matched = MatchedSets(store, control)
        self.lost: list[ChangeFeed] = []
        """Of a contract with a filter, those of which it is not known which documents match: a copy finds out."""

    def check(self) -> None:
        """Whether entries can be written. Raises FatalError where their order could not be kept, or where a stream
        holds entries of an application."""
        if not self._plan.feeds:
            return
        if not self._control.partition.is_whole:
            what = f"contract {self._plan.name} has a change feed, whose entries have one order"
            remedy = (
                "run it by a daemon without SYNCD_PARTITION or --split, with a folder of contracts of its own"
            )
            raise FatalError("redis", f"{what}, and this daemon works on a part of it; {remedy}")
        self.lost = lost_feeds(self._plan, self._matched)
        new = new_claims(self._store, [KEY + feed.template.text for feed in self._plan.feeds])
        for feed in self._plan.feeds:
            if KEY + feed.template.text not in new:
                self._known.add(feed.name)
                continue
            if self._is_ours(feed):
                self._known.add(feed.name)
            elif count := self._count(feed):
                self._take(feed, count)
            for lease in self._lease.parts:
                lease.note_foreign(feed.template.text, "done")

    def _is_ours(self, feed: ChangeFeed) -> bool:
        """Whether syncd wrote the stream, although the claim that said so is gone. Where the claim of another stream is
        there, the feed had that one before, and has never written here."""
        node = self._store.at_key(feed.key)
        (last,) = read_fields(node, self._control.at(node.place), Fields.ENTRY + feed.name)
        return bool(last) and not any(
            said["contract"] == self._plan.name
            and (said["projection"], said["type"]) == (feed.name, feed.type)
            and name != KEY + feed.template.text
            for name, said in read_claims(self._store)[1].items()
        )

    def _count(self, feed: ChangeFeed) -> int:
        client = self._store.at_key(feed.key).client
        with translated():
            kind: Any = client.type(feed.key)
            # What is no stream is refused with the first entry.
            return int(client.xlen(feed.key)) if kind == feed.redis_type.encode() else 0

    def _take(self, feed: ChangeFeed, count: int) -> None:
        if not self._plan.contract.sync.adopt:
            what = f"{feed.key} holds {count} entries that syncd did not write"
            remedy = "rename that key, or write sync: {adopt: true}, and entries follow behind them"
            raise FatalError("redis", f"{what}; {remedy}")
        telemetry.entries_adopted(self._plan.name, feed.name, count)

    @property
    def filling(self) -> list[str]:
        """Names of feeds whose sets of matching documents a copy fills; readers are told nothing."""
        return [feed.name for feed in self._plan.feeds if self._matched.reached(feed) in (FILLING, RELOAD)]

    def begin_matched(self) -> Iterator[Write]:
        """What is written where a copy begins. What a copy before it has not finished was perhaps of another filter."""
        for feed in self._plan.feeds:
            reached = self._matched.reached(feed) if feed.filtered else LOST
            if not feed.filtered:
                yield BeginMatched(feed, "")
            elif reached != WHOLE:
                is_first = reached == LOST and feed.name not in self._known
                yield BeginMatched(feed, FILLING if is_first else RELOAD)

    def begin(self, old: Position, first: Moment) -> Iterator[Write]:
        """What is written where changes begin again behind `first`, because nothing says where they went on."""
        for feed in self._plan.feeds:
            begins = last_entry_id(first)
            yield OpenFeed(feed, begins)
            if feed.name in self._known or old.fingerprint:
                why = "collection gone" if old.next == KEEP or old.allows(PURGE) else "position lost"
                telemetry.feed_gap(self._plan.name, feed.name, why)
                yield feed.gap("", seconds(first) * 1000, why)
