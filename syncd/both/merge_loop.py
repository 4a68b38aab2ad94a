"""The merger's thread: takes what changed on either side, has it merged, and keeps what is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from syncd import telemetry
from syncd.both.capture import CapturedKeys, KeyChange
from syncd.both.context import MergeContext
from syncd.both.merger import MergeOutcome, Merger
from syncd.both.status import TwoWayStatus
from syncd.errors import DeadLettersFullError
from syncd.lanes.events import AllMerged
from syncd.lanes.state import LaneState
from syncd.stores.redis.records.lease import Lease
from syncd.to_mongo.state.run import EVERY_S

REQUESTS_AT_ONCE = 1000
WAIT_S = 0.05
"""How long a merge request may wait while the merger waits for changes in Redis."""
GRACE_S = 3.0


class MergeLoop:
    """`items` is for a thread of its own; the rest may be called by others."""

    def __init__(self, merge: MergeContext, status: TwoWayStatus, state: LaneState, lease: Lease) -> None:
        self._plan, self._status, self._state, self._lease = merge.plan, status, state, lease
        self._store, self._writer, self._capture = merge.store, merge.writer, merge.capture
        self._merger = Merger(merge)
        self.halt, self._rung = threading.Event(), threading.Event()
        self._kept = 0.0
        self._dead_letters, self._began = 0, time.monotonic()
        self._left = True
        self.merge_requests = 0
        """About how many keys are to be merged because their documents changed."""

    def stop(self) -> None:
        """End after the merge under way."""
        self.halt.set()

    def ring(self, count: int) -> None:
        """There are about so many new merge requests."""
        self._note(self.merge_requests + count)
        self._rung.set()

    def _note(self, merge_requests: int) -> None:
        self.merge_requests = merge_requests
        self._status.noted(merge_requests)

    def items(self) -> Iterator[Any]:
        """Works until asked to stop; there are no items."""
        while not self.halt.is_set():
            self._lease.hold()
            if time.monotonic() - self._kept >= EVERY_S:
                self._keep()
            awaited, is_rung = self._state.awaits_merge, self._rung.is_set()
            self._rung.clear()
            requested = self._store.oldest_merge_requests(REQUESTS_AT_ONCE) if is_rung or self._left else []
            taken = self._capture.take(0.0 if requested else WAIT_S)
            outcome = self._apply(taken, requested)
            if self._capture.behind:
                continue
            if awaited and not outcome.held and len(requested) < REQUESTS_AT_ONCE:
                self._state.tell(AllMerged())
            if outcome.held or outcome.waiting:
                self.halt.wait(WAIT_S)
        yield from ()

    def _apply(self, taken: CapturedKeys, requested: list[bytes]) -> MergeOutcome:
        words = dict.fromkeys(requested, KeyChange()) | taken.words
        if not words and not taken.refused:
            return MergeOutcome()
        if self._is_full():
            self._capture.put_back(taken)
            raise DeadLettersFullError(self._plan.name, self._plan.keep_dead_letters)
        began = time.monotonic()
        try:
            outcome = self._merger.apply(words)
            outcome.refused |= taken.refused
            self._finish(outcome, taken, began)
        except BaseException:
            self._capture.put_back(taken)
            raise
        if outcome.full is not None:
            raise outcome.full
        return outcome

    def _finish(self, outcome: MergeOutcome, taken: CapturedKeys, began: float) -> None:
        self._capture.put_back(taken.only(outcome.held))
        parked = self._store.done(outcome.done, outcome.refused, self._capture.keep_from)
        self._capture.forget(outcome.done)
        if parked:
            self._dead_letters = self._store.count_dead_letters()
            self._status.dead_letters_counted(self._dead_letters)
        self._left = self._merger.merge_requests_left > 0
        self._note(self._merger.merge_requests_left)
        self._status.conflicts += len(outcome.conflicts)
        self._state.progressed()
        telemetry.BATCH.labels(self._plan.name).observe(time.monotonic() - began)
        telemetry.merged(self._plan.name, len(taken.words.keys() - outcome.held), outcome.counts, parked)
        for said in outcome.conflicts:
            telemetry.conflict(self._plan.name, said.why, said.winner, sorted(said.fields))

    def _is_full(self) -> bool:
        """Whether the contract keeps no more dead letters. After a start there is time for a replay, which makes room:
        its keys have merge requests like others."""
        keep = self._plan.keep_dead_letters
        return 0 < keep <= self._dead_letters and time.monotonic() - self._began > GRACE_S

    def _keep(self) -> None:
        """What is due once a second."""
        self._kept = time.monotonic()
        self._writer.keep()
        self._capture.keep()
        merge_requests, first = self._store.count_merge_requests()
        self._left = self._left or merge_requests > 0
        self._dead_letters = self._store.count_dead_letters()
        self._status.dead_letters_counted(self._dead_letters)
        self.merge_requests = merge_requests
        self._status.counted(self._capture.backlog(), merge_requests, first)
