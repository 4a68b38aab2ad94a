"""What runs of both captures of state share: what people ask of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from syncd import telemetry
from syncd.lanes.context import LaneContext
from syncd.lanes.status import BaseStatus
from syncd.lanes.waiting_dead_letters import WaitingDeadLetters
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.records.dead_letters import as_bytes, replays_done, requested_replays
from syncd.stores.redis.records.requests.repairs import (
    repairs_done,
    requested_repairs,
    split_absent,
    split_repairs,
)
from syncd.to_mongo.session import ContractSession
from syncd.to_mongo.state.state_writer import StateWriter
from syncd.to_mongo.state.store import StateStore

MOST_REPLAYED = 256
EVERY_S = 1.0
"""How often a run does what is due."""
DRAIN_S = 3.0
"""A lane that stops goes on so long with what waits: the contract may go the other way next. A daemon that stops waits
far longer for its lanes."""


class StateRun:
    """One run of a contract whose keys go to MongoDB. Called by the lane's thread alone, which holds the lease."""

    def __init__(
        self, context: LaneContext[StatePlan, BaseStatus], number: int, outbox: str | None = None
    ) -> None:
        """`number`: see StateWriter; `outbox`: see StateStore."""
        plan, site = context.plan, context.settings.site
        self._context = context
        self._plan, self._redis, self._lease = plan, context.redis, context.lease
        self._requests = context.requests
        self._control, self._state = context.control, context.state
        self._store = StateStore(context.redis, plan, context.lease, outbox)
        session = ContractSession(context.mongo, "state", plan.name, site, plan.contract.collection)
        self._writer = StateWriter(context.mongo, plan, session, site, number)
        self._waiting = WaitingDeadLetters(context.redis, plan.name)

    def run(self) -> None:
        """Work until the lane has to stop; raises what ends it."""
        raise NotImplementedError

    def _count_dead_letters(self) -> int:
        """Dead letters that wait."""
        telemetry.values_did_not_fit(self._plan.name, self._plan.misfits.taken().items())
        self._store.waiting = self._waiting.count()
        return self._store.waiting

    def _replay(self, apply: Callable[[list[bytes]], None]) -> None:
        """Keys of dead letters that a person wants tried again."""
        if dead_letters := requested_replays(self._redis, self._plan.name, MOST_REPLAYED):
            apply([as_bytes(key) for key in dead_letters.values() if key])
            replays_done(self._redis, self._plan.name, list(dead_letters))
            telemetry.replayed(self._plan.name, len(dead_letters))

    def _repair(self, apply: Callable[[Mapping[bytes, bool]], None]) -> None:
        """What a check wants repaired: keys that are to be read again, and whether each counts as deleted."""
        entries = requested_repairs(self._redis, self._plan.name)
        if not entries:
            return
        _, again = split_repairs(entries)
        absent = {key.encode(): position for key, position in split_absent(entries).items()}
        # A document that was written since shows a key that came since: its deletion would be another one.
        unchanged = self._writer.still_at(absent)
        apply({key.encode(): False for _, key in again} | dict.fromkeys(unchanged, True))
        repairs_done(self._redis, self._plan.name, entries)
        telemetry.repairs_applied(self._plan.name, len(entries))
