"""The lane of a contract that listens to keyspace events. One daemon has the lease and listens; the others stand by."""

from __future__ import annotations

from typing import Any

from syncd.lanes.context import Common, LaneContext
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.capabilities import Capabilities
from syncd.to_mongo.append.group import Backlog
from syncd.to_mongo.keyspace.listening import Listening
from syncd.to_mongo.keyspace.run import KeyspaceRun
from syncd.to_mongo.keyspace.samples_run import SamplesRun
from syncd.to_mongo.keyspace.status import KeyspaceStatus
from syncd.to_mongo.state.lane import StateLane


class KeyspaceLane(StateLane):
    """Runs one plan until `stop`. `status` and `state` may be read from any thread."""

    status: KeyspaceStatus
    status_type = KeyspaceStatus

    def __init__(self, plan: StatePlan, common: Common) -> None:
        super().__init__(plan, common)
        self._listening = Listening(common.redis, plan, common.settings.dirty_keys)

    def _make_run(
        self, context: LaneContext[StatePlan, Any], number: int, server: Capabilities
    ) -> KeyspaceRun:
        make = SamplesRun if self.plan.of_samples else KeyspaceRun
        return make(context, number, self._listening, server.maxmemory_policy)

    def _backlog(self) -> Backlog:
        return self._listening.backlog()

    def _stop_listening(self) -> None:
        self._listening.stop()

    def _leave(self) -> None:
        self._stop_listening()
        super()._leave()
