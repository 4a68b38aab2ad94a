"""Which changes already show in Redis, so that nothing older is written over them.

A read at time T covers every change up to T. What is known of that:

- `floors`, document by document: a change at or before its document's floor is skipped.
- `blanket`, for reads of many documents (snapshot chunks, and whatever was read before a crash, of which only the
  latest time is known): a change at or before it is resolved by a new read, which is later than anything that shows.
- `touched`, documents that the stream wrote while a snapshot chunk was on its way: a chunk that was read before leaves
  them out.

The latest time of all reads, the mark, is stored with the position in the same atomic step; a new run takes it as its
blanket. So a floor holds through a crash although only one number is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from enum import Enum, auto

from syncd.stores.times import ZERO, Moment

MOST_FLOORS = 50_000
"""Above this, floors become one blanket: it costs reads, not memory."""
CROWDED = 200_000
"""Above this, chunks that are still on their way are better read again."""


class Verdict(Enum):
    """What may be done with a change."""

    APPLY = auto()
    SKIP = auto()
    READ = auto()


class Floors:
    """Shared by a lane and its snapshot reader; only `touch` and `horizon` are called by both."""

    def __init__(self, mark: Moment, horizon: Moment) -> None:
        """`mark`: latest time of any read that shows; `horizon`: latest time of anything that shows."""
        self._blanket = mark
        self._floors: dict[str, Moment] = {}
        self.version = 0
        """Moves with every read that is confirmed."""
        self._horizon = horizon
        self._touched: dict[str, Moment] = {}
        self._lock = threading.Lock()
        self.recording = False
        """True while a snapshot runs."""

    def is_clear(self, time: Moment) -> bool:
        """Whether every change from this time on may be applied."""
        return not self._floors and time > self._blanket

    def verdict(self, ident: str, time: Moment) -> Verdict:
        """What may be done with a change of this document at this time."""
        floor = self._floors.get(ident)
        if floor is not None and time <= floor:
            return Verdict.SKIP
        return Verdict.READ if time <= self._blanket else Verdict.APPLY

    def confirm_read(self, idents: Iterable[str], time: Moment) -> None:
        """These documents show what was read at `time`."""
        self.version += 1
        self._floors.update(dict.fromkeys(idents, time))
        if len(self._floors) > MOST_FLOORS:
            self._blanket = max(self._blanket, *self._floors.values())
            self._floors.clear()

    def confirm_range(self, time: Moment) -> None:
        """Some part of the collection shows what was read at `time`."""
        if time > self._blanket:
            self.version += 1
            self._blanket = time

    def passed(self, time: Moment) -> None:
        """The stream has passed `time`, perhaps not all changes of it: floors before are of no more use."""
        if self._floors:
            self._floors = {ident: floor for ident, floor in self._floors.items() if floor >= time}

    def touch(self, idents: Iterable[str], time: Moment) -> None:
        """The stream is about to write these documents as of `time`."""
        with self._lock:
            self._horizon = max(self._horizon, time)
            if self.recording:
                for ident in idents:
                    if time > self._touched.get(ident, ZERO):
                        self._touched[ident] = time

    def horizon(self) -> Moment:
        """No chunk may be read earlier than this: everything up to here may have been written by the stream."""
        with self._lock:
            return self._horizon

    def newer(self, idents: Collection[str], time: Moment) -> set[str]:
        """Which of these documents the stream wrote later than `time`."""
        touched = self._touched
        return {ident for ident in idents if touched.get(ident, ZERO) > time} if touched else set()

    @property
    def is_crowded(self) -> bool:
        """Whether the stream has written very much since the oldest chunk was asked for."""
        return len(self._touched) > CROWDED

    def chunks_passed(self, time: Moment) -> None:
        """Every chunk that is still to come is of this time or later, so what was touched before matters no more."""
        with self._lock:
            self._touched = {ident: at for ident, at in self._touched.items() if at > time}
