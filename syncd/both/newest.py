"""Which of two changes is the later one: of the contracts whose conflicts go to the `newest`.

A key and its document are read as they are, and may show changes that the stream or the outbox has not reported yet:
both are behind, for minutes after a start. So a conflict waits until the stream has reported everything up to the first
read of it, and the outbox is read to its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from syncd.both.capture import Capture, KeyChange
from syncd.both.store import changed_at
from syncd.stores.mongo.times import Moment


class Newest:
    """Of one contract's run. Called by the merger's thread."""

    def __init__(self, capture: Capture, passed: Callable[[], Moment]) -> None:
        """`passed`: up to where the stream has reported changes."""
        self._capture, self._passed = capture, passed
        self._reported_to = ""
        self._first_reads: dict[bytes, tuple[Moment, Mapping[str, str]]] = {}

    def begin(self) -> None:
        """Before merge requests are read: all changes up to here have one by now."""
        self._reported_to = self._passed()

    def is_redis(
        self,
        key: bytes,
        word: KeyChange,
        merge_request: int | None,
        mongo: Mapping[str, str],
        read_at: Moment,
        *,
        had_base: bool,
        at_once: bool,
    ) -> bool | None:
        """Whether Redis's change is the later one; None where that is not known yet. `mongo` was read at `read_at`,
        after the merge request. `at_once`: then by what is known."""
        first, known = self._first_reads.get(key, (read_at, mongo))
        if self._reported_to < first and not at_once:
            self._first_reads[key] = first, known
            return None
        self._first_reads.pop(key, None)
        now = round(time.time() * 1000)
        # Read before the merge request came, or changed since the first read: no source has reported such a change.
        mongo_time = changed_at(merge_request) if known == mongo and self._reported_to >= first else now
        # Without a base it is not known; else a change without an event or entry has just happened.
        redis_time = max(word.time, self._capture.latest(key)) or (now if had_base else 0)
        return redis_time > mongo_time

    def forget(self, keys: Iterable[bytes]) -> None:
        """These keys are merged."""
        if self._first_reads:
            for key in keys:
                self._first_reads.pop(key, None)
