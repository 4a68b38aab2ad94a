"""Where a lane's changes come from: a stream of its own, or, while it is quiet, one that it shares.

Every open stream costs MongoDB a scan of the whole oplog, and us a request a second, whether or not there is anything
for it. So the quiet lanes of a database share one (see hub).
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

from syncd.errors import TransientError
from syncd.stores.mongo.last_change import Quiet
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import is_high_water_mark, seconds, token_at, token_time
from syncd.to_redis.context import RunContext
from syncd.to_redis.stream.change_stream import Batch, ChangeStream
from syncd.to_redis.stream.hub import StreamHub
from syncd.to_redis.stream.member import Member
from syncd.to_redis.stream.pace import BRIEF_MS
from syncd.to_redis.stream.read_ahead import ReadAhead

FAR_S = 5.0
"""A position that is so old may have many changes of other collections behind it."""
QUIET_S = 3.0
QUIET_EVENTS = 20
"""A lane with no more changes than this within QUIET_S may share. Well below what makes it leave."""


class LaneStream:
    """The batches of one run. `items` is for the thread that fetches; `close` may be called by another."""

    def __init__(
        self,
        run: RunContext,
        stream: ChangeStream,
        event: Document | None,
        hub: StreamHub | None,
        inbox: queue.SimpleQueue[Any],
        quiet: Quiet | None,
        check: Callable[[Document | None], None],
    ) -> None:
        """`event`: token of the last change that was delivered; `hub`: None for a stream of its own in any case;
        `quiet`: how to find what can be left out; `check` raises where MongoDB's history is another one by now."""
        self._plan, self._stream, self._event = run.lane.plan, stream, event
        self._quiet, self._check = quiet, check
        self._watermarks, self._status, self._state = run.watermarks, run.lane.status, run.lane.state
        self._hub, self._inbox, self._reads, self._pace = hub, inbox, ReadAhead(run), run.lane.hub.pace
        self._member: Member | None = None
        self._closed = False
        self._calm()
        self._status.stream = "own"

    def items(self, first: Batch) -> Iterator[Batch]:
        """All batches of its own stream, which has just opened with `first`; a shared stream puts its own into the
        inbox."""
        try:
            yield from self._ahead(first.token)
            batch: Batch | None = self._stream.next(self._pace.wait_ms(self, is_live=False))
            while batch is not None:
                yield self._reads.of(batch)
                batch = self._next(batch)
        finally:
            self._pace.leave(self)
            self._stream.close()

    def _ahead(self, token: Document) -> Iterator[Batch]:
        """What can be left out, piece by piece: nothing has happened to the collection until there."""
        since, is_high_water = token_time(token), is_high_water_mark(token)
        if self._quiet is None or time.time() - seconds(since) < FAR_S:
            return
        high_water = None
        for upto in self._quiet.moments(since, inclusive=is_high_water):
            if self._closed:
                return
            high_water = token_at(token if is_high_water else self._stream.any_high_water(), upto)
            yield Batch.of([], high_water, is_proof=False)
        if high_water is not None:
            self._stream.close()
            self._stream.resume(high_water, self._watermarks.horizon)

    def close(self) -> None:
        """End a wait for a shared stream."""
        self._closed = True
        self._status.stream = "own"
        if (member := self._member) is not None:
            member.leave()

    def _next(self, last: Batch) -> Batch | None:
        self._check_open()
        if last.events:
            self._event = last.events[-1]["_id"]
        if self._hub is not None and self._is_quiet(len(last.events)):
            self._calm()
            member = self._member = Member(self._plan, last.token, self._event, self._inbox)
            if self._hub.join(member):
                return self._share(member)
        return self._stream.next(self._pace.wait_ms(self, is_live=self._state.is_live))

    def _check_open(self) -> None:
        """What ends a stream is an event, and the run with it. A lane must not wait for one that never comes."""
        if self._stream.is_exhausted:
            raise TransientError("mongo", "the change stream ended without an error; opening it again")

    def _calm(self) -> None:
        self._since, self._count = time.monotonic(), 0

    def _is_quiet(self, count: int) -> bool:
        self._count += count
        if self._count > QUIET_EVENTS or not self._state.is_live:
            self._calm()
        return time.monotonic() - self._since > QUIET_S

    def _share(self, member: Member) -> Batch | None:
        """Wait until the shared stream is of no more use. Returns the next batch of the lane's own."""
        while not member.covered.is_set():
            if self._stream.is_exhausted or self._closed:
                member.leave()
                self._check_open()
                return None
            batch = self._stream.next()
            proof, held_back_s = not batch.events, batch.held_back_s
            if not member.offer(batch.events, batch.token, proof=proof, held_back_s=held_back_s):
                self._event = member.event
                return member.rest(batch)
        self._stream.close()
        if not self._closed:
            self._pace.leave(self)
            self._status.stream = "shared"
            member.left.wait()
        member.leave()  # a thread that passes something on at this moment has finished then
        return None if self._closed else self._own_again(member)

    def _own_again(self, member: Member) -> Batch:
        self._status.stream = "own"
        self._event = member.event
        self._calm()
        # MongoDB may be another one by now, or have another history: that is checked as at a start.
        self._check(self._event)
        self._stream.resume(member.token, self._watermarks.horizon)
        return self._stream.next(BRIEF_MS)
