"""The lane of a contract that listens to keyspace events. One daemon has the lease and listens; the others stand by."""

from __future__ import annotations

from syncd.lanes.context import Common
from syncd.plan.state import StatePlan
from syncd.stores.capabilities import Capabilities
from syncd.writebehind.group import Backlog
from syncd.writebehind.keyspace import KeyspaceRun
from syncd.writebehind.keyspace_status import KeyspaceStatus
from syncd.writebehind.listening import Listening
from syncd.writebehind.state_lane import StateLane


class KeyspaceLane(StateLane):
    """Runs one plan until `stop`. `status` and `state` may be read from any thread."""

    status: KeyspaceStatus
    status_type = KeyspaceStatus

    def __init__(self, plan: StatePlan, common: Common) -> None:
        super().__init__(plan, common)
        self._listening = Listening(common.redis, plan, common.settings.dirty_keys)

    def _make_run(self, number: int, server: Capabilities) -> KeyspaceRun:
        return KeyspaceRun(self._context, number, self._listening, server.maxmemory_policy)

    def _backlog(self) -> Backlog:
        return self._listening.backlog()

    def _stop_listening(self) -> None:
        self._listening.stop()

    def _leave(self) -> None:
        self._stop_listening()
        super()._leave()
