"""The lane of a contract that goes both ways. One daemon has the lease and works; the others stand by."""

from __future__ import annotations

from syncd.both.capture import Capture, KeyspaceCapture, OutboxCapture
from syncd.both.status import TwoWayStatus
from syncd.both.store import TwoWayStore
from syncd.both.target import MergeTarget
from syncd.lanes.context import Common
from syncd.plan.both.plan import TwoWayPlan
from syncd.stores.mongo.collections import require_records, require_target
from syncd.stores.redis.capabilities import Capabilities
from syncd.to_mongo.keyspace.listening import Listening
from syncd.to_mongo.outbox.queue import OutboxQueue
from syncd.to_mongo.outbox.status import read_backlog
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys
from syncd.to_mongo.state.memory import Memory
from syncd.to_mongo.state.run_numbers import Numbers
from syncd.to_redis.stream.hub import StreamHub
from syncd.to_redis.stream_lane import StreamLane


class TwoWayLane(StreamLane):
    """Runs one plan until `stop`. `status` and `state` may be read from any thread."""

    plan: TwoWayPlan
    status: TwoWayStatus

    def __init__(self, plan: TwoWayPlan, common: Common, hub: StreamHub) -> None:
        unfit = UnfitKeys(common.redis, plan.state)
        status = TwoWayStatus(plan.name, plan.contract.shown_collection, plan.freshness_s, unfit)
        super().__init__(plan, common, hub, status=status)
        self._listening: Listening | None = None
        if plan.contract.sync.capture == "keyspace":
            self._listening = Listening(common.redis, plan.state, common.settings.dirty_keys)
        self._numbers = Numbers(self._lease)

    def _require_collections(self) -> None:
        require_target(self._mongo, self.plan.namespace)  # takes less than a source does, and says so
        require_records(self._mongo, self.plan.conflicts)
        super()._require_collections()

    def _make_target(self, server: Capabilities) -> MergeTarget:
        def make_capture(store: TwoWayStore) -> Capture:
            if self._listening is None:
                return OutboxCapture(OutboxQueue(self._redis, self.plan, store), store)
            memory = Memory(self._redis, self.plan.state, self._lease)
            policy, unfit = server.maxmemory_policy, self.status.unfit
            return KeyspaceCapture(
                self._redis, self.plan, self._listening, memory, self._common.requests, policy, unfit
            )

        return MergeTarget(self._context, self.plan, self.status, self._numbers.next(), make_capture)

    def _show_waiting(self) -> None:
        super()._show_waiting()
        batch_writes = self._common.settings.batch_writes
        store = TwoWayStore(self._redis, self.plan, self._lease, batch_writes)
        listens, outbox = self._listening, self._control.outbox
        backlog = listens.backlog() if listens is not None else read_backlog(self._redis, outbox, "")
        self.status.counted(backlog, *store.count_merge_requests())

    def _learn_number(self, seen: int) -> None:
        self._numbers.learn(seen)

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.stop()

    def _leave(self) -> None:
        self._stop_listening()
        super()._leave()
