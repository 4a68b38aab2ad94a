"""The lane of a contract that listens to keyspace events. One daemon has the lease and listens; the others stand by."""

from __future__ import annotations

from syncd.errors import FencedError
from syncd.plan.state import StatePlan
from syncd.settings import Settings
from syncd.stores.capabilities import Capabilities
from syncd.stores.leases import Leases
from syncd.stores.mongo import MongoStore
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard
from syncd.writebehind.keyspace import KeyspaceRun
from syncd.writebehind.keyspace_status import KeyspaceStatus
from syncd.writebehind.listening import Listening
from syncd.writebehind.state_lane import StateLane
from syncd.writebehind.unfit import Unfit


class KeyspaceLane(StateLane):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    status: KeyspaceStatus

    def __init__(
        self,
        plan: StatePlan,
        mongo: MongoStore,
        redis: RedisStore,
        leases: Leases,
        settings: Settings,
        requests: RequestBoard,
    ) -> None:
        super().__init__(plan, mongo, redis, leases, settings, requests)
        self.status = KeyspaceStatus(
            plan.name, plan.contract.shown_collection, plan.freshness_s, Unfit(redis, plan)
        )
        self._listening = Listening(redis, plan, settings.dirty_keys)

    def _make_run(self, number: int, server: Capabilities) -> KeyspaceRun:
        return KeyspaceRun(self._means(number), self.status, self._listening, server.maxmemory_policy)

    def _look(self) -> None:
        self.status.looked(self._listening.backlog(), self.status.dead_letters)

    def _fenced(self, error: FencedError) -> float:
        if error.holder:  # the other one listens, and compares everything first
            self._listening.stop()
        return super()._fenced(error)

    def _leave(self) -> None:
        self._listening.stop()
        super()._leave()
