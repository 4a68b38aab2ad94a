"""One run over time series: samples that an application adds, into their documents, until stopped.

    an event names a series  ->  what is newer than the newest known sample, and those of the last ones that changed;
                                 where it has more samples than are known, the search for those that came late;
                                 the same where another series took its name
    a gap in the events      ->  the same of every series, and then all its samples are compared with their documents
    all are asked for        ->  every series from its first sample on

What is known of a series moves when a majority of MongoDB has the samples, so after a kill they are read again; a
sample has one `_id`, so it becomes one document. Events go on being served between two pages of a series.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from syncd import telemetry
from syncd.errors import SlotMovedError
from syncd.lanes.context import LaneContext
from syncd.plan.to_mongo.gone import Gone
from syncd.plan.to_mongo.state import AWAY, COLON, StatePlan
from syncd.stores.redis.key_states import samples_of
from syncd.stores.redis.records.position import Fields
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.keyspace.listening import MOST_TAKEN, Listening
from syncd.to_mongo.keyspace.run import AWAY_AGAIN_S, KeyspaceRun
from syncd.to_mongo.keyspace.sample_sync import SampleSync
from syncd.to_mongo.keyspace.status import KeyspaceStatus
from syncd.to_mongo.state.keys.changed_keys import ChangedKey
from syncd.to_mongo.state.keys.key_sync import KeyOutcome
from syncd.to_mongo.state.run import EVERY_S
from syncd.to_mongo.state.store import ANOTHER, NewSamples

MOST_NEW = 1000
"""Samples of one series that are taken at once; another series waits no longer than these take."""
_BEYOND = Refused(
    "cannot_convert", "samples behind the year 9999, which no date holds: moments are epoch milliseconds"
)


class Late(NamedTuple):
    """Samples of a series that were added behind others."""

    number: int
    before: int
    """The moment that all of them are before."""


class SamplesRun(KeyspaceRun):
    """See KeyspaceRun."""

    def __init__(
        self, context: LaneContext[StatePlan, KeyspaceStatus], number: int, listening: Listening, policy: str
    ) -> None:
        super().__init__(context, number, listening, policy)
        self._samples = SampleSync(context.mongo, self._plan, self._store, self._writer)
        self._late: dict[bytes, Late] = {}
        """Series of which samples are to be searched for."""
        self._walking = b""
        self._is_behind = False
        """Whether the series that is walked through has got samples where the walk may have been."""
        self._away: set[bytes] = set()
        """Series that were on their way between two nodes at their last read."""
        self._searched: dict[bytes, int] = {}
        """So many a walk has found of a series, until the next read of the series counts them."""

    def run(self) -> None:
        """See KeyspaceRun. What was not found is searched for by the next run: of these series no event comes."""
        try:
            super().run()
        finally:
            now = time.monotonic()
            left = {**self._late, **self._searched}
            self._changed.put_back([ChangedKey(series, Gone.NO_WORD, now) for series in left])

    def _apply(self, taken: Sequence[ChangedKey], everything: bool = False) -> None:
        super()._apply(taken, everything)
        while self._late and not self._walking and not self._context.is_over:
            self._search(next(iter(self._late)))

    def _search(self, series: bytes) -> None:
        """Samples that were added behind others, from there backwards until so many were found."""
        late, found = self._late[series], 0
        for more in self._walk(series, late.before):
            found += more
            if found >= late.number:
                break
        if found >= late.number or not self._context.is_over:
            # Also those that came meanwhile: a search for them would find no more.
            self._count(series, max(late.number, found))

    def _walk(self, series: bytes, before: int = 0) -> Iterator[int]:
        """Compare samples with their documents, a page at a time, from the newest on, or from those before a moment. Of
        each page, how many had no document. Ends early where the lane is to stop."""
        self._walking, self._is_behind = series, False
        try:
            for page in samples_of(self._redis, self._plan, series, before):
                outcome, found = self._samples.compare(page)
                self._finish(outcome, 0)
                yield found
                if not self._serve():
                    return
        finally:
            self._walking = b""
            if self._is_behind:
                self._read_again(series)

    def _count(self, series: bytes, number: int) -> None:
        """MongoDB has so many more samples of a series: its next read, which is due, takes them into account."""
        self._searched[series] = number
        self._late.pop(series, None)
        self._read_again(series)

    def _read_again(self, series: bytes) -> None:
        self._changed.put_back([ChangedKey(series, Gone.NO_WORD, time.monotonic())])

    def _write(self, taken: list[ChangedKey], everything: bool) -> None:
        others = {changed.key for changed in taken if changed.is_other}
        more = self._follow([changed.key for changed in taken], others)
        self._changed.put_back([changed._replace(is_other=False) for changed in taken if changed.key in more])

    def _follow(self, series: Sequence[bytes], others: Container[bytes] = ()) -> set[bytes]:
        """What is new of each of these series, of which `others` took the name of one that was there; returns those
        that have more."""
        more: set[bytes] = set()
        for some in self._store.by_node(series):
            left = some
            while left:
                searched = [ANOTHER if one in others else self._searched.get(one, 0) for one in left]
                found = self._store.new_samples(left, MOST_NEW, searched)
                self._wait_for(one.series for one in found if one.type == AWAY)
                self._sync_new([one for one in found if one.type != AWAY])
                more |= {one.series for one in found if len(one.moments) >= MOST_NEW}
                left = left[len(found) :]
        return more

    def _wait_for(self, series: Iterable[bytes]) -> None:
        """Series whose slot is on its way to another node of a cluster."""
        now = time.monotonic()
        again = [ChangedKey(one, Gone.NO_WORD, now) for one in series]
        self._away |= {one.key for one in again}
        self._changed.put_back(again, delay_s=AWAY_AGAIN_S)

    def _sync_new(self, found: Sequence[NewSamples]) -> None:
        names = [COLON.join((one.series, moment)) for one in found for moment in one.moments]
        outcome = self._samples.apply(dict.fromkeys(names, ""))
        for one in found:
            if (wrong := self._wrong(one)) is not None:
                outcome.refused[one.series] = wrong
            else:
                outcome.done.append(one.series)
            if one.late and one.series == self._walking:
                self._is_behind = True
            elif one.late:
                self._late[one.series] = Late(one.late, one.oldest)
        self._finish(outcome, len(names))
        self._memory.note({one.series: one.remembered for one in found})
        for one in found:
            self._searched.pop(one.series, None)
            self._away.discard(one.series)

    def _wrong(self, found: NewSamples) -> Refused | None:
        if found.type not in (self._plan.type, "none"):
            detail = f"the key is a {found.type}, the contract says {self._plan.type}"
            return Refused("wrong_type", detail)
        return _BEYOND if found.is_beyond else None

    def _finish(self, outcome: KeyOutcome, read: int) -> None:
        has_dead_letters = self._store.waiting > 0
        parked = self._store.done(outcome.done, outcome.refused)
        self._refused.note(outcome.refused)
        if has_dead_letters:
            self._refused.forget(outcome.done)
        telemetry.state_written(self._plan.name, read, outcome.put, 0, parked)
        if outcome.gone:
            telemetry.keys_gone(self._plan.name, len(outcome.gone))
        if parked:
            self._status.dead_letters_counted(self._count_dead_letters())
        if outcome.away:  # a slot went between two reads
            raise SlotMovedError

    def _compare(self) -> None:
        """The next series."""
        keys, everything = self._comparison.page(), self._comparison.everything
        for key in keys:
            if not self._compare_series(key, everything):
                return  # the next run begins the comparison again
        self._status.copied = self._comparison.compared
        if self._comparison.page_is_done() and everything:
            self._memory.note({}, {Fields.FINGERPRINT: self._plan.fingerprint})

    def _compare_series(self, key: bytes, everything: bool) -> bool:
        """All of a series, a page at a time. Whether that was done, and not ended by a stop."""
        if everything:
            self._memory.note({key: ""})
        while self._follow([key]):
            if not self._serve():
                return False
        if key in self._away:
            return True  # all are compared when the slot has arrived
        late = self._late.get(key)
        for _ in () if everything else self._walk(key):
            pass
        if late is not None and not self._context.is_over:
            self._count(key, late.number)
        return not self._context.is_over

    def _serve(self) -> bool:
        """What is due between two pages. Whether the lane goes on."""
        self._lease.hold()
        if time.monotonic() - self._kept >= EVERY_S:
            self._keep()
        self._apply(self._changed.take(MOST_TAKEN))
        self._status.heard()
        self._state.progressed()
        return not self._context.is_over

    def _compare_again(self, keys: Mapping[bytes, bool]) -> None:
        self._finish(self._samples.apply(dict.fromkeys(keys, "")), 0)

    def _try_again(self, keys: list[bytes]) -> None:
        """Dead letters are of samples, and of series."""
        series = [key for key in keys if self._plan.has_key(key)]
        self._follow(series)
        outcome = self._samples.apply(dict.fromkeys([key for key in keys if key not in series], ""))
        outcome.done += outcome.gone  # a person has seen to them
        outcome.gone = []
        self._finish(outcome, 0)
