"""What a lane does beside moving changes: store an idle position, answer requests, check indexes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from syncd import telemetry
from syncd.lanes.situation import State
from syncd.lanes.waiting_dead_letters import WaitingDeadLetters
from syncd.plan.keys.templates import decode_key_value, is_ident
from syncd.plan.to_redis.change import AnsweredDeadLetters
from syncd.stores.mongo.history import Witness
from syncd.stores.mongo.times import token_time
from syncd.stores.redis.members import Members
from syncd.stores.redis.records.dead_letters import find_dead_letters, replays_done, requested_replays
from syncd.stores.redis.records.keys.foreign_keys import count_foreign
from syncd.stores.redis.records.keys.key_maps import KeyMaps
from syncd.stores.redis.records.layout import survey, survey_nodes
from syncd.stores.redis.records.position import SNAPSHOT, STREAM
from syncd.stores.redis.records.requests.lane_requests import (
    answers_position,
    request_snapshot,
    wants_snapshot,
)
from syncd.to_redis.apply.digests import DigestKeeper
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.apply.units import Step
from syncd.to_redis.boards import Boards
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.partial import PartialCopies
from syncd.to_redis.copy.repair import Repairs, ReplayUnit
from syncd.to_redis.expiry import MemberExpiry

EVERY_S = 1.0
SOON_S = 0.1
IDLE_COMMIT_S = 60.0
"""How often the position of a lane without traffic is stored at least, so that it does not age out of the oplog."""
SCAN_COMMIT_S = 5.0
"""The same of a lane that goes through what came since its position."""
CHECK_S = 15.0
"""How often what changes slowly is checked."""
MOST_REPLAYED = 256


class Housekeeper:
    """Called by the lane's thread between two items, whenever it is `due`."""

    def __init__(
        self,
        run: RunContext,
        pipeline: Pipeline,
        digests: DigestKeeper | None,
        fetch: Callable[[str, Iterator[Any]], object],
    ) -> None:
        """`fetch` has a thread of its own go through an iterator, whose items come back to `takes`."""
        lane = run.lane
        plan, redis, control = lane.plan, lane.redis, lane.control
        self._plan, self._mongo, self._redis, self._control = plan, lane.mongo, redis, control
        self._status, self._state, self._requests = lane.status, lane.state, lane.requests
        self._pipeline, self._indexes, self._builder = pipeline, run.indexes, run.builder
        self._digests, self._history, self._lease = digests, lane.hub.history, lane.lease
        self._witness: Witness | None = None
        self._repairs, self._boards = Repairs(run, pipeline), Boards(run, pipeline)
        self._partial = PartialCopies(run, pipeline, fetch)
        self._expiry = MemberExpiry(run)
        self._maps, self._members = KeyMaps(redis, control), Members(redis, control)
        self._checked = self._next = 0.0
        self._waiting = WaitingDeadLetters(redis, plan.name)

    @property
    def due(self) -> bool:
        """Whether it is time again."""
        return time.monotonic() >= self._next

    def takes(self, item: Any) -> bool:
        """Whether an item is of this work; then it is done."""
        return self._partial.takes(item)

    def keep(self) -> bool:
        """Do what is due. Returns whether a snapshot is asked for."""
        now = time.monotonic()
        self._next = now + EVERY_S
        self._bear_witness()
        self._commit_idle(now)
        if self._expiry.remove():
            self._next = 0.0
        asked = self._requests.has_any(self._control)
        if asked or self._boards.are_elsewhere:
            self._boards.fill()
        if asked:
            self._replay()
            self._partial.begin()
            if self._repairs.work_off():
                self._next = 0.0
            if answers_position(self._redis, self._control):
                self._pipeline.apply(Step())
                self._pipeline.drain()
        if self._digests is not None and self._state.is_live and self._digests.keep(self._pipeline):
            self._next = min(self._next, now + SOON_S)
        self._check_indexes()
        if now - self._checked > CHECK_S:
            self._checked = now
            self.count_dead_letters()
            self._check_maps()
            telemetry.keys_left_alone(self._plan.name, count_foreign(self._redis, self._plan.name))
            self._status.nodes = survey_nodes(self._redis, self._control)
            if not self._control.partition.is_whole:
                self._status.partitions = survey(self._redis, self._plan.name)
        return asked and bool(wants_snapshot(self._redis, self._control))

    def _check_indexes(self) -> None:
        if self._indexes.is_due:
            ready = self._pipeline.position.phase != SNAPSHOT
            self._indexes.check(self._pipeline.moved, ready=ready)
            self._status.searched(self._indexes.as_dicts(), self._indexes.complaint)

    def _check_maps(self) -> None:
        """Each key of the one map has its document in the other, unless entries of that were lost: then a document that
        goes leaves its key behind. Only a copy, with its sweep, makes the map again."""
        if not self._control.partition.leads or self._pipeline.position.phase != STREAM:
            return
        for shape in self._plan.shapes:
            if shape.is_shared:
                lost = 0 if self._members.is_whole(shape) else 1
            else:
                lost = 0 if shape.by_id else self._maps.are_lost(shape)
            if lost:
                telemetry.maps_lost(self._plan.name, shape.name, lost)
                request_snapshot(self._redis, self._plan.name)
                return

    def count_dead_letters(self) -> None:
        """Show how many wait."""
        self._status.dead_letters_counted(self._waiting.count())

    def _bear_witness(self) -> None:
        """Name an entry of the oplog that the position has passed: of one that it has not, a majority may not know."""
        position, witness = self._pipeline.position, self._witness
        if witness is None or position.token is None:
            self._witness = self._history.latest()
        elif witness.time <= token_time(position.token):
            self._pipeline.log.witness(str(witness))
            self._witness = self._history.latest()

    def _commit_idle(self, now: float) -> None:
        # A restart must not go once more through what a long oplog holds of others.
        every = SCAN_COMMIT_S if self._state.state is State.CATCHING_UP else IDLE_COMMIT_S
        if (window := self._mongo.oplog_window()) is not None:
            self._status.oplog(*window)
            # A quarter of a short window leaves time for a restart.
            every = min(every, max(EVERY_S, (window[1] - window[0]) / 4))
        if now - self._pipeline.confirmed_at > every:
            self._pipeline.apply(Step())
            self._pipeline.drain()

    def _replay(self) -> None:
        """Try dead letters again for which a person asked."""
        dead_letters = self._own_dead_letters()
        if not dead_letters:
            return
        waiting = {entry: ident for entry, ident in dead_letters.items() if ident}
        if waiting:
            # In a cluster a dead letter is on another node than its key, and goes when the key is written.
            several = len(self._lease.parts) > 1
            names = self._names(list(waiting))
            self._pipeline.apply(ReplayUnit(self._builder, waiting, names, answers=not several))
            self._pipeline.replayed([AnsweredDeadLetters(list(waiting))] if several else ())
        replays_done(self._redis, self._plan.name, list(dead_letters))
        telemetry.replayed(self._plan.name, len(waiting))

    def _names(self, entries: list[str]) -> dict[str, set[str]]:
        """Of which projections the dead letters are, by document, where an entry may be missing."""
        names: dict[str, set[str]] = {}
        for one in find_dead_letters(self._redis, self._plan.name, entries) if self._plan.feeds else ():
            names.setdefault(one.id, set()).add(one.projection)
        return names

    def _own_dead_letters(self) -> dict[str, str]:
        """The first of them that are for this partition; dead letters that are gone are for all partitions."""
        start = 0
        while dead_letters := requested_replays(self._redis, self._plan.name, MOST_REPLAYED, start):
            dead_letters = {entry: ident if is_ident(ident) else "" for entry, ident in dead_letters.items()}
            ids = [decode_key_value(ident) if ident else None for ident in dead_letters.values()]
            ours = self._builder.lookup.own(ids)
            chosen = {e: i for (e, i), own in zip(dead_letters.items(), ours, strict=True) if own or not i}
            if chosen:
                return chosen
            start += MOST_REPLAYED
        return {}
