"""One run of `capture: append`: entries of a stream into documents, until it is stopped or a store fails.

An entry is acknowledged only when a majority of MongoDB has its document, or its dead letter is stored. Until then it
stays with the group, and comes again after whatever happens; its document then is there already.
"""

from __future__ import annotations

import threading
import time

from bson.raw_bson import RawBSONDocument

from syncd import telemetry
from syncd.errors import ProjectionError
from syncd.plan.append import AppendPlan
from syncd.settings import Settings
from syncd.stores.deadletters import (
    count_dead_letters,
    drop_dead_letters,
    replays_done,
    requested_replays,
)
from syncd.stores.mongo import MongoStore
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard, snapshot_begins, wants_snapshot
from syncd.writebehind.group import Entry, Group
from syncd.writebehind.letters import Letters
from syncd.writebehind.status import AppendStatus
from syncd.writebehind.writer import Refused, Writer

MOST_ENTRIES = 1000
FIRST_ENTRIES = 64
MOST_BYTES = 16 * 1024 * 1024
"""Of one batch, by the size of the entries before: Redis cannot be asked for so many bytes."""
EVERY_S = 1.0
MOST_REPLAYED = 256


class AppendRun:
    """Called by the lane's thread alone."""

    def __init__(
        self,
        plan: AppendPlan,
        mongo: MongoStore,
        redis: RedisStore,
        group: Group,
        settings: Settings,
        status: AppendStatus,
        requests: RequestBoard,
        halt: threading.Event,
    ) -> None:
        self._plan, self._redis, self._group = plan, redis, group
        self._status, self._requests, self._halt = status, requests, halt
        self._writer = Writer(mongo, plan)
        self._letters = Letters(redis, plan)
        self._control = ControlKeys(plan.name)
        self._idle_s = settings.lease_ttl
        self._count = FIRST_ENTRIES
        self._kept = self._claimed = 0.0
        self._told = False
        self.progressed = False
        """Whether any entry got through."""

    def run(self) -> None:
        """First what is left of before, then what comes, until stopped."""
        self._writer.check()
        if (start := self._group.ensure()) is not None:
            telemetry.group_lost(self._plan.name, self._plan.stream, start)
        self._status.enter("catching_up")
        self._take_over("")
        self._keep()
        self._status.enter("live")
        while not self._halt.is_set():
            taken = self._group.read(self._count)
            self._trimmed(taken.trimmed)
            self._apply(taken.entries or self._group.wait(self._count))
            if time.monotonic() - self._kept >= EVERY_S:
                self._keep()

    def _keep(self) -> None:
        """What is due once a second."""
        now = self._kept = time.monotonic()
        if now - self._claimed >= self._idle_s / 2:
            self._claimed = now
            self._adopt()
        if self._requests.has_any(self._control):
            self._answer()
        waiting = count_dead_letters(self._redis, self._plan.name)
        if waiting and not self._told:
            telemetry.dead_letters_wait(self._plan.name, waiting)
        self._told = True
        self._status.looked(self._group.backlog(), waiting)
        self._status.heard()

    def _adopt(self) -> None:
        """Entries of consumers that are dead, or have said nothing for long."""
        for consumer, left in self._group.dead_consumers():
            if left:
                self._take_over(consumer)
            self._group.remove(consumer)
        while not self._halt.is_set():
            taken = self._group.claim(self._count, self._idle_s)
            self._trimmed(taken.trimmed)
            if not taken.entries:
                return
            self._apply(taken.entries)

    def _take_over(self, consumer: str) -> None:
        """All that a consumer has taken and not acknowledged. A dead one is read in its name: nothing changes hands."""
        after = "0-0"
        while entries := self._group.pending(self._count, after, consumer):
            after = entries[-1].id
            gone = [entry.id for entry in entries if not entry.said]
            self._trimmed(self._group.acknowledge(gone))
            self._apply([entry for entry in entries if entry.said])

    def _trimmed(self, count: int) -> None:
        if count:
            telemetry.entries_trimmed(self._plan.name, self._plan.stream, count)

    def _apply(self, entries: list[Entry]) -> None:
        """Write a batch, then acknowledge it. What cannot be written becomes a dead letter with its acknowledgement."""
        self._status.heard()
        if not entries:
            return
        began = time.monotonic()
        refused, repeated = self._write(entries)
        done = [entry.id for entry in entries if entry.id not in refused]
        self._group.acknowledge(done)
        parked = self._letters.park(refused)
        self._measure(entries, time.monotonic() - began)
        telemetry.appended(self._plan.name, len(entries), len(done) - repeated, repeated, parked)
        self._status.took(len(entries))
        self.progressed = True

    def _measure(self, entries: list[Entry], seconds: float) -> None:
        telemetry.BATCH.labels(self._plan.name).observe(seconds)
        size = sum(len(part) for entry in entries for pair in entry.said.items() for part in pair)
        fit = MOST_BYTES * len(entries) // max(1, size)
        self._count = max(1, min(fit, 2 * self._count, MOST_ENTRIES))

    def _write(self, entries: list[Entry]) -> tuple[dict[str, Refused], int]:
        """What was refused, by entry, and how many documents were there already."""
        documents: list[RawBSONDocument] = []
        places: list[str] = []
        refused: dict[str, Refused] = {}
        for entry, said in entries:
            try:
                documents.append(self._plan.document(entry, said))
                places.append(entry)
            except ProjectionError as error:
                refused[entry] = Refused(error.reason, error.detail)
        written = self._writer.write(documents)
        refused |= {places[at]: why for at, why in written.refused.items()}
        return refused, len(written.repeated)

    def _answer(self) -> None:
        """What people have asked for."""
        if wants_snapshot(self._redis, self._control):
            snapshot_begins(self._redis, self._control)
            telemetry.nothing_to_copy(self._plan.name)
        if letters := requested_replays(self._redis, self._plan.name, MOST_REPLAYED):
            self._replay({ident: letter for letter, ident in letters.items() if ident})
            replays_done(self._redis, self._plan.name, list(letters))
            telemetry.replayed(self._plan.name, len(letters))

    def _replay(self, letters: dict[str, str]) -> None:
        """Dead letters by entry. One that still does not fit keeps a letter, with the reason of now."""
        found = self._group.look_up(list(letters))
        refused, repeated = self._write([entry for entry in found if entry.said])
        gone = Refused("entry_trimmed", "the entry is no longer in the stream; nothing can be replayed")
        refused |= {entry.id: gone for entry in found if not entry.said}
        done = [letter for entry, letter in letters.items() if entry not in refused]
        drop_dead_letters(self._redis, self._plan.name, done)
        self._letters.park(refused)
        telemetry.appended(self._plan.name, 0, len(done) - repeated, repeated, 0)
