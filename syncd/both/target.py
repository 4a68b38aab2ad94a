"""Where a contract that goes both ways brings documents: the stream only requests merges of keys, and a merger, in a
thread of its own, merges keys and documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from syncd.both.capture import Capture
from syncd.both.context import MergeContext
from syncd.both.document_writer import DocumentWriter
from syncd.both.merge_loop import MergeLoop
from syncd.both.merge_request_builder import MergeRequestBuilder
from syncd.both.merger import MOST_MERGE_REQUESTS
from syncd.both.newest import Newest
from syncd.both.status import TwoWayStatus
from syncd.both.store import TwoWayStore
from syncd.plan.both.plan import TwoWayPlan
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.to_mongo.session import ContractSession
from syncd.to_mongo.state.memory import Memory
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.watermarks import Watermarks
from syncd.to_redis.context import StreamContext
from syncd.to_redis.target import Target


class MergeTarget(Target):
    """Of one run."""

    def __init__(
        self,
        lane: StreamContext,
        plan: TwoWayPlan,
        status: TwoWayStatus,
        number: int,
        make_capture: Callable[[TwoWayStore], Capture],
    ) -> None:
        """`number`: larger than any before."""
        self._lane, self._plan, self._status, self._number = lane, plan, status, number
        settings = lane.settings
        self._store = TwoWayStore(lane.redis, plan, lane.lease, settings.batch_writes)
        names = "both", plan.name, settings.site, plan.contract.collection
        session = ContractSession(lane.mongo, *names)
        self._writer = DocumentWriter(lane.mongo, plan, session, settings.site, number)
        self._capture = make_capture(self._store)
        self._loop: MergeLoop | None = None

    def begin(self) -> None:
        """From here on, changes in Redis are captured, and writes of earlier daemons are refused."""
        # What was agreed on with another collection says nothing of this one.
        Memory(self._lane.redis, self._plan.state, self._lane.lease).begin()
        self._writer.begin()
        self._capture.begin()

    def builder(self, lookup: Lookup, watermarks: Watermarks) -> MergeRequestBuilder:
        """Merge requests."""
        return MergeRequestBuilder(self._plan, lookup, watermarks)

    def beside(self, log: ApplyLog[Any, Any]) -> Iterator[Any]:
        """The merger."""
        context = MergeContext(
            plan=self._plan,
            store=self._store,
            writer=self._writer,
            lookup=Lookup(self._lane.mongo, self._plan.documents),
            capture=self._capture,
            newest=Newest(self._capture, lambda: log.confirmed.time),
            watermarks=log.watermarks,
            number=self._number,
        )
        self._loop = MergeLoop(context, self._status, self._lane.state, self._lane.lease)
        return self._loop.items()

    @property
    def is_full(self) -> bool:
        """Whether there are so many merge requests that the stream must wait."""
        return self._loop is not None and self._loop.merge_requests > MOST_MERGE_REQUESTS

    def applied(self, count: int) -> None:
        """There are about so many new merge requests."""
        if self._loop is not None:
            self._loop.ring(count)

    def end(self) -> None:
        """Stop the merger."""
        if self._loop is not None:
            self._loop.stop()
