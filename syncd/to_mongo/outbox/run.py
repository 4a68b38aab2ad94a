"""One run of `capture: outbox`: keys that the application noted, into their documents, until it is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from syncd import telemetry
from syncd.lanes.context import LaneContext
from syncd.lanes.events import Confirmed, Entered
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.records.position import Fields
from syncd.stores.redis.records.requests.lane_requests import snapshot_begins, wants_snapshot
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.outbox.missing import Missing
from syncd.to_mongo.outbox.queue import MOST_ENTRIES, Entry, Noted, OutboxQueue, noted, without_key
from syncd.to_mongo.outbox.status import OutboxStatus
from syncd.to_mongo.state.keys.key_copy import KeyCopy
from syncd.to_mongo.state.keys.key_sync import KeyOutcome, KeySync
from syncd.to_mongo.state.keys.member_names import MemberNames
from syncd.to_mongo.state.memory import Memory
from syncd.to_mongo.state.positions import NEVER, after, of_entry
from syncd.to_mongo.state.run import DRAIN_S, EVERY_S, StateRun

WAIT_S = 0.5
"""How long a read waits for an entry: far below the time after which a connection is given up."""


class OutboxRun(StateRun):
    """See StateRun."""

    def __init__(self, context: LaneContext[StatePlan, OutboxStatus], number: int) -> None:
        super().__init__(context, number, context.control.outbox)
        self._status = context.status
        self._sync = KeySync(self._plan, self._store, self._writer, context.settings.batch_writes)
        self._queue = OutboxQueue(self._redis, self._plan, self._store)
        self._memory = Memory(self._redis, self._plan, self._lease)
        self._missing = Missing(self._plan.name)
        self._members = MemberNames(self._redis, context.mongo, self._plan, context.settings.site)
        self._copy: KeyCopy | None = None
        self._kept = 0.0

    def run(self) -> None:
        """First what is left of before, then what comes, until stopped."""
        self._writer.begin()
        self._memory.note({}, {Fields.FINGERPRINT: self._plan.fingerprint})
        self._queue.begin()
        self._state.tell(Entered())
        while not self._context.is_over:
            self._lease.hold()
            if time.monotonic() - self._kept >= EVERY_S:
                self._keep()
            entries = self._queue.take(WAIT_S if self._copy is None else 0.0)
            self._status.heard()
            if len(entries) < MOST_ENTRIES:
                self._state.tell(Confirmed())
            if entries:
                self._apply(entries)
            else:
                self._missing.judge()
            if self._copy is not None:
                self._copy_more(self._copy)
        self._drain()

    def _drain(self) -> None:
        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end and (entries := self._queue.take()) and self._apply(entries):
            pass

    def _apply(self, entries: list[Entry]) -> bool:
        """The keys that entries name, each once, as they are now; then the entries go. Whether they did."""
        began = time.monotonic()
        found = noted(entries, self._plan)
        self._status.unfit.note(self._plan.apart(found.keys)[1])
        outcome = self._sync.apply(found.names)
        outcome.refused |= without_key(entries)
        if not (self._sync_emptied(found.emptied) and self._sync_members(found.whole)):
            return False  # the entries are there when the next run begins
        self._finish(outcome, len(entries), keep_from=after(entries[-1].id))
        self._forget(found)
        self._missing.note(outcome.gone, self._store.last)
        self._missing.judge(of_entry(entries[-1].id))
        telemetry.BATCH.labels(self._plan.name).observe(time.monotonic() - began)
        self._status.took(len(entries), entries[-1].id)
        self._state.progressed()
        return True

    def _forget(self, found: Noted) -> None:
        self._missing.forget(found.names)
        deleted = {key for key, at in (found.whole | found.emptied).items() if at}
        if deleted:
            self._missing.forget_where(lambda name: self._plan.place(name)[0] in deleted)

    def _sync_members(self, keys: Mapping[bytes, str]) -> bool:
        """All members of these keys, a page at a time. Whether that was done, and not ended by a stop."""
        for key, deleted in keys.items():
            if why := self._plan.why_no_key(key):
                self._finish(KeyOutcome(refused={key: Refused("foreign_key", why)}), 0)
                continue
            if not self._sync_pages(self._members.pages(key), deleted):
                return False
            wrong = self._members.wrong_type(key)
            self._finish(KeyOutcome(refused={key: wrong}) if wrong else KeyOutcome(done=[key]), 0)
        return True

    def _sync_emptied(self, keys: Mapping[bytes, str]) -> bool:
        """Documents of members that these keys had before they were gone. The same."""
        mine = ((key, deleted) for key, deleted in keys.items() if self._plan.has_key(key))
        return all(self._sync_pages(self._members.gone(key), deleted) for key, deleted in mine)

    def _sync_pages(self, pages: Iterable[list[bytes]], deleted: str) -> bool:
        for page in pages:
            self._lease.hold()
            outcome = self._sync.apply(dict.fromkeys(page, deleted))
            self._missing.note(outcome.gone, self._store.last)
            self._finish(outcome, 0)
            if time.monotonic() - self._kept >= EVERY_S:
                self._stay()
            if self._context.is_over:
                return False
        return True

    def _finish(self, outcome: KeyOutcome, entries: int, keep_from: str = "") -> None:
        parked = self._store.done(outcome.done, outcome.refused, keep_from)
        telemetry.state_written(self._plan.name, entries, outcome.put, outcome.deleted, parked)
        if parked:
            self._status.dead_letters_counted(self._count_dead_letters())

    def _keep(self) -> None:
        """What is due once a second."""
        if self._requests.has_any(self._control):
            self._answer()
        self._stay()

    def _stay(self) -> None:
        """The same, also in the middle of a key."""
        self._kept = time.monotonic()
        self._writer.keep()
        self._queue.keep()
        self._status.counted(self._queue.backlog(self._status.done), self._count_dead_letters())
        self._status.heard()

    def _answer(self) -> None:
        """What people have asked for."""
        if self._copy is None and wants_snapshot(self._redis, self._control):
            self._copy = KeyCopy(self._redis, self._plan, self._status.unfit)
            telemetry.copy_started(self._plan.name)
        self._replay(self._try_again)
        self._repair(self._compare_again)

    def _compare_again(self, keys: Mapping[bytes, bool]) -> None:
        deleted = {True: NEVER, False: ""}
        self._finish(self._sync.apply({key: deleted[gone] for key, gone in keys.items()}), 0)

    def _try_again(self, keys: list[bytes]) -> None:
        whole = [key for key in keys if self._plan.of_members is not None and self._plan.has_key(key)]
        self._sync_members(dict.fromkeys(whole, ""))
        outcome = self._sync.apply(dict.fromkeys([key for key in keys if key not in whole], ""))
        outcome.done += outcome.gone  # a person asked for them, and there is nothing to write
        self._finish(outcome, 0)

    def _copy_more(self, copy: KeyCopy) -> None:
        """The next keys of all. The request stays until the last of them, so that a crash begins again."""
        keys = dict.fromkeys(copy.next(), "")
        if self._plan.of_members is None:
            self._finish(self._sync.apply(keys), 0)
        elif not self._sync_members(keys):
            return
        self._status.copied = copy.copied
        if copy.is_done:
            snapshot_begins(self._redis, self._control)
            telemetry.snapshot_finished(self._plan.name, copy.copied, copy.seconds)
            self._copy = None
