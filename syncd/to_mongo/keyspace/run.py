"""One run of `capture: keyspace`: keys that Redis says have changed, into their documents, until stopped.

An event names a key and may be lost. So what a key holds is read, never taken from an event; and after every gap in the
events all keys are compared with what was last synced.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from syncd import telemetry
from syncd.lanes.context import LaneContext
from syncd.lanes.events import Confirmed, Entered, FellBehind
from syncd.plan.to_mongo.gone import CERTAIN, Gone, is_deletion
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.records.layout import survey_nodes
from syncd.stores.redis.records.lost.refused_keys import RefusedKeys
from syncd.stores.redis.records.position import Fields
from syncd.stores.redis.records.requests.lane_requests import snapshot_begins, wants_snapshot
from syncd.to_mongo.keyspace.listening import MOST_TAKEN, WORD_AGAIN_S, WORD_S, Listening
from syncd.to_mongo.keyspace.passing import Passing
from syncd.to_mongo.keyspace.status import KeyspaceStatus
from syncd.to_mongo.state.comparison import Comparison
from syncd.to_mongo.state.keys.changed_keys import ChangedKey
from syncd.to_mongo.state.memory import KeyspaceSync, Memory
from syncd.to_mongo.state.positions import NEVER
from syncd.to_mongo.state.run import DRAIN_S, EVERY_S, StateRun

WAIT_S = 0.5
AWAY_AGAIN_S = 0.5
"""So often keys are read again whose slot is on its way to another node of a cluster."""
PLACED_S = 2.0
"""How often the nodes of a cluster are asked whether they have the keys that they had: before, nothing is heard of one
that is new."""
ASKED_S = 0.05
"""The same while a check waits for an answer."""


class KeyspaceRun(StateRun):
    """See StateRun."""

    def __init__(
        self, context: LaneContext[StatePlan, KeyspaceStatus], number: int, listening: Listening, policy: str
    ) -> None:
        """`policy` is how Redis evicts keys."""
        super().__init__(context, number)
        self._status, self._policy = context.status, policy
        self._listening, self._changed = listening, listening.changed
        self._refused = RefusedKeys(self._redis, self._plan, self._lease)
        self._memory = Memory(self._redis, self._plan, self._lease)
        self._sync = KeyspaceSync(self._plan, self._store, self._writer, context.settings.batch_writes)
        self._passing = Passing(self._redis, self._control, context.requests, listening, self._memory)
        self._comparison = Comparison(self._redis, self._plan, listening, context.status.unfit)
        self._kept = self._placed_at = 0.0

    def run(self) -> None:
        """First what was not heard, then what is heard, until stopped."""
        self._writer.begin()
        self._state.tell(Entered())
        if not self._memory.begin():
            self._comparison.ask_for_everything()
        self._passing.begin()
        self._listening.begin(self._redis)
        for keys in self._refused.lost():
            telemetry.refused_keys_lost(self._plan.name, len(keys))
            self._try_again(keys)
        while not self._context.is_over:
            self._lease.hold()
            if time.monotonic() - self._kept >= EVERY_S:
                self._keep()
            if self._comparison.begin_if_due():
                self._state.tell(FellBehind())
            if self._comparison.is_under_way:
                self._compare()
            else:
                self._state.tell(Confirmed())
                self._changed.wait(ASKED_S if self._passing.is_asked else WAIT_S)
            self._apply(self._changed.take(MOST_TAKEN))
            self._passing.check_requests()
            if not self._comparison.is_under_way:
                self._passing.answer()
            self._status.heard()
        self._drain()

    def _drain(self) -> None:
        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end and self._listening.backlog().entries:
            self._apply(self._changed.take(MOST_TAKEN))
            self._changed.wait(ASKED_S)

    def _compare(self) -> None:
        """The next page."""
        keys, everything = self._comparison.page(), self._comparison.everything
        words, long_ago = self._changed.words(keys), time.monotonic() - WORD_S
        self._apply([ChangedKey(key, words.get(key, Gone.NO_WORD), long_ago) for key in keys], everything)
        self._status.copied = self._comparison.compared
        if self._comparison.page_is_done() and everything:
            self._memory.note({}, {Fields.FINGERPRINT: self._plan.fingerprint})

    def _apply(self, taken: Sequence[ChangedKey], everything: bool = False) -> None:
        """The present state of keys. What fails comes again."""
        began = time.monotonic()
        fitting, others = self._plan.apart(changed.key for changed in taken)
        self._status.unfit.note(others)
        keys = set(fitting)
        mine = [changed for changed in taken if changed.key in keys]
        if not mine:
            return
        try:
            self._write(mine, everything)
        except BaseException:
            self._changed.put_back(mine)
            raise
        telemetry.BATCH.labels(self._plan.name).observe(time.monotonic() - began)
        self._status.took(len(mine))
        self._state.progressed()

    def _write(self, taken: list[ChangedKey], everything: bool) -> None:
        taken = [self._doubted(changed) for changed in taken]
        self._sync.begin(everything=everything)
        outcome = self._sync.apply({changed.key: self._deletion_of(changed.gone) for changed in taken})
        why, waiting = self._why_gone(taken, outcome.gone)
        if inferred := {key: NEVER for key, gone in why.items() if self._deletion_of(gone)}:
            outcome.add(self._sync.apply(inferred))
        away = set(outcome.away)
        self._put_back_unknown(taken, away)
        has_dead_letters = self._store.waiting > 0
        parked = self._store.done(outcome.done, outcome.refused)
        self._refused.note(outcome.refused)
        self._remember(waiting | away)
        if has_dead_letters:
            self._refused.forget(outcome.done)
        telemetry.state_written(self._plan.name, len(taken), outcome.put, outcome.deleted, parked)
        if parked:
            self._status.dead_letters_counted(self._count_dead_letters())
        self._report_kept({key: gone for key, gone in why.items() if key not in inferred}, len(inferred))

    def _doubted(self, changed: ChangedKey) -> ChangedKey:
        """Also the node that has the slot sends `del` for keys that go, and knows nothing of that where it is a replica
        that has taken over meanwhile."""
        is_doubtful = changed.gone == Gone.DELETED and self._lease.is_moving(changed.key)
        return changed._replace(gone=Gone.NO_WORD) if is_doubtful else changed

    def _put_back_unknown(self, taken: Sequence[ChangedKey], away: set[bytes]) -> None:
        """Keys that are on their way between two nodes. Whether they were deleted, no event has said."""
        again = [
            changed if changed.gone in CERTAIN else changed._replace(gone=Gone.NO_WORD)
            for changed in taken
            if changed.key in away
        ]
        self._changed.put_back(again, delay_s=AWAY_AGAIN_S)

    def _report_kept(self, kept: dict[bytes, Gone], inferred: int) -> None:
        """Keys that are not there, whose documents stay."""
        known = [gone for key, gone in kept.items() if self._sync.read[key].known]
        if len(known) < len(kept):
            telemetry.keys_gone(self._plan.name, len(kept) - len(known))
        telemetry.keys_vanished(
            self._plan.name, inferred, known.count(Gone.EXPIRED), known.count(Gone.EVICTED)
        )

    def _deletion_of(self, gone: Gone) -> str:
        """The position of a deletion, for KeySync: not known, so that of the read counts."""
        return NEVER if is_deletion(gone, self._plan.contract.sync.on_expire) else ""

    def _why_gone(self, taken: list[ChangedKey], gone: list[bytes]) -> tuple[dict[bytes, Gone], set[bytes]]:
        """What became of keys that are not there, and those whose event may be on its way: they come again."""
        there = set(gone)
        missing = [changed for changed in taken if changed.key in there]
        silent = [changed for changed in missing if changed.gone == Gone.NO_WORD]
        now = time.monotonic()
        old = [changed.key for changed in silent if now - changed.since >= WORD_S]
        decided = set(old) - self._redis.on_their_way(old)
        if decided:  # a node that has lost the slot knows of that later than the one that has it
            self._lease.require_placed(now=True)
        waiting = [changed for changed in silent if changed.key not in decided]
        self._changed.put_back(waiting, delay_s=WORD_AGAIN_S)
        later = {changed.key for changed in waiting}
        digests = {
            changed.key: self._sync.read[changed.key].known for changed in silent if changed.key not in later
        }
        said = {changed.key: changed.gone for changed in missing if changed.gone != Gone.NO_WORD}
        known = {key: digest for key, digest in digests.items() if digest}
        return said | self._memory.why_gone(known, self._policy), later

    def _remember(self, waiting: set[bytes]) -> None:
        """What MongoDB holds now: a majority has written it."""
        read = self._sync.read.items()
        changed = {
            key: found.digest for key, found in read if found.digest != found.known and key not in waiting
        }
        if changed:
            self._memory.note(changed)

    def _keep(self) -> None:
        """What is due once a second."""
        self._kept = now = time.monotonic()
        if now - self._placed_at >= PLACED_S:
            self._placed_at = now
            self._lease.require_placed()
            self._status.nodes = survey_nodes(self._redis, self._control)
        self._listening.check()
        self._writer.keep()
        if self._requests.has_any(self._control):
            self._answer()
        self._status.counted(self._listening.backlog(), self._count_dead_letters())

    def _answer(self) -> None:
        """What people have asked for."""
        if wants_snapshot(self._redis, self._control):
            self._memory.note({}, {Fields.FINGERPRINT: ""})
            snapshot_begins(self._redis, self._control)
            self._comparison.ask_for_everything()
        self._replay(self._try_again)
        self._repair(self._compare_again)

    def _compare_again(self, keys: Mapping[bytes, bool]) -> None:
        now = time.monotonic()
        gone = {True: Gone.DELETED, False: Gone.NO_WORD}
        self._apply([ChangedKey(key, gone[deleted], now) for key, deleted in keys.items()], True)

    def _try_again(self, keys: list[bytes]) -> None:
        long_ago = time.monotonic() - WORD_S
        self._apply([ChangedKey(key, Gone.NO_WORD, long_ago) for key in keys], True)
        # A person has seen to those of keys that are not there any more.
        gone = [key for key, found in self._sync.read.items() if not found.is_there]
        self._store.done(gone, {})
        self._refused.forget(gone)
