"""Drives the apply log: builds calls, sends them, reads the replies, and reports the results.

Two calls are in flight, and the next is built while Redis works on the last: with one, Redis would wait for us between
two calls, and we for Redis. What may be done when is for the log to say.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from syncd import telemetry
from syncd.errors import is_about_input, why_unfit
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import (
    OF_FEEDS,
    AnsweredDeadLetters,
    BeginMatched,
    Changed,
    Dead,
    Drop,
    Elements,
    Elsewhere,
    Entry,
    Hashed,
    Judged,
    Leave,
    MapBegins,
    MapIsWhole,
    Matched,
    MatchedIsWhole,
    MergeRequest,
    OpenFeed,
    Orphan,
    Patch,
    Put,
    RetiredKey,
    Stray,
    Write,
)
from syncd.plan.types import Memberships
from syncd.stores.redis.records.dead_letters import fill_up
from syncd.stores.redis.records.position import ControlKeys, Position
from syncd.to_redis.apply.apply_log import Answer, ApplyLog, Call, CallState, Do
from syncd.to_redis.apply.calls.fan_out import FanOut
from syncd.to_redis.apply.calls.operations import Operations, is_unicode, limited_members
from syncd.to_redis.apply.calls.writer import Reply, Writer
from syncd.to_redis.apply.refusals import take_refusal
from syncd.to_redis.apply.units import DeadLettersUnit, DocumentsUnit, Draft, Replayed, Unit

RESULTS = {
    Put: "put", Elements: "noted", Patch: "patch", Drop: "delete", RetiredKey: "delete", Orphan: "delete", Dead: "dead",
    AnsweredDeadLetters: "settled", MergeRequest: "marked", Changed: "noted", Hashed: "noted",
    Leave: "delete", Stray: "delete", MapBegins: "noted", MapIsWhole: "noted",
    Entry: "entry", Judged: "entry", Matched: "noted", BeginMatched: "noted", MatchedIsWhole: "noted",
}  # fmt: skip
"""What `syncd_writes_total` calls each kind of write."""

_OF_DEAD_LETTERS = (Dead, AnsweredDeadLetters)
_SWEEPS = ("sweep", "retired")

SLOW_CALL_S = 0.008
QUICK_CALL_S = 0.003
"""The application's reads wait behind a call. Above the one the calls get smaller, below the other larger again: an
insert into a vector index costs a hundred times what a plain hash does."""
FEWEST_WRITES = 16
EVEN_PARTS = 0.8
"""Of what all nodes of a cluster together may take in a call: so much has seldom a part for one that is too large."""

FIRST_ELEMENTS = 1000
"""How many elements a document is taken to have until the first call shows it: a call that is too large is built for
nothing."""

SentCall: TypeAlias = "Call[Unit, Operations]"


@dataclass(slots=True)
class Moved:
    """What Redis confirmed since the run began."""

    written: int = 0
    """Keys, as often as they were written as a whole."""
    removed: int = 0
    """Removals of keys, also of keys that were not there."""

    def count(self, result: str, count: int) -> None:
        """So many more."""
        if result == "put":
            self.written += count
        elif result == "delete":
            self.removed += count


class Pipeline:
    """Has Redis apply units one after another. `writes` is how many a call should hold at present."""

    def __init__(
        self,
        plan: StreamPlan,
        control: ControlKeys,
        writer: Writer | FanOut,
        log: ApplyLog[Unit, Operations],
        most_writes: int,
        tell: Callable[[Unit], None],
        removals: telemetry.Removals,
        entail: Callable[[Draft], list[Write]] | None = None,
    ) -> None:
        """`tell` hears of every unit that Redis confirmed; `entail` gives the writes of a draft with those that they
        entail."""
        self._plan, self._control, self._writer, self._tell = plan, control, writer, tell
        self._removals, self._entail, self.log = removals, entail, log
        self.confirmed_at = time.monotonic()
        self._most_writes, self._most_in_all = most_writes, most_writes
        if writer.nodes > 1:  # each gets a part of the call, and seldom an equal one
            self._most_in_all = max(most_writes, round(most_writes * writer.nodes * EVEN_PARTS))
        self.writes = self._most_in_all
        keys = sum(FIRST_ELEMENTS if shape.each else 1 for shape in plan.shapes)
        self._keys_a_document = keys + len(plan.feeds)
        self._varies = any(shape.each or shape.is_shared for shape in plan.shapes)
        self._limited = limited_members(plan)
        self.swept = 0
        """Keys that went for want of a document, or of a template."""
        self.dead_letters_changed = False
        """Whether dead letters in Redis have changed since this was last set to False."""
        self.moved = Moved()
        self._told_shifted = False

    @property
    def documents(self) -> int:
        """How many of them the next call should hold."""
        return max(1, self.writes // self._keys_a_document)

    @property
    def position(self) -> Position:
        """Behind everything that was sent."""
        return self.log.position

    @property
    def confirmed(self) -> Position:
        """Behind everything that Redis acknowledged."""
        return self.log.confirmed

    def apply(self, unit: Unit) -> None:
        """Send a unit behind those in flight; returns when there is room for another."""
        self.log.add(unit, time.monotonic())
        self._work(drain=False)

    def drain(self) -> None:
        """Wait until all calls are confirmed."""
        self._work(drain=True)

    def replayed(self, writes: Sequence[Write] = ()) -> None:
        """What no change of the stream brings again is on its way: wait for it, and have all nodes of a cluster hear of
        that, with `writes`."""
        self.drain()
        if writes or isinstance(self._writer, FanOut):
            self.apply(Replayed(writes))
            self.drain()

    def _work(self, *, drain: bool) -> None:
        while (what := self.log.next(drain=drain)) is not None:
            do, call = what
            if do is Do.BUILD:
                self._build(call)
            elif do is Do.SEND:
                self._send(call)
            else:
                self._receive()

    def _build(self, call: SentCall) -> None:
        """A unit that one read cannot hold is divided, and so is one in which something raises an error. By halves that
        is narrowed to the change or document that does, and this one becomes a dead letter."""
        unit = call.work
        if call.refusals:
            self._take_refusals(call)
        try:
            built = self._built(call)
        except Exception as error:
            if unit.size < 1 or not is_about_input(error):
                raise
            if unit.size == 1:
                unit.unfit(call, error)  # and it is built again
                return
            built = None
        if built is None:
            self.log.divided(call, unit.split())
        else:
            operations, draft = built
            self.log.built(call, operations, draft.covers)

    def _built(self, call: SentCall) -> tuple[Operations, Draft] | None:
        draft = call.work.build(call)
        if draft is None:
            return None
        writes = draft.writes if self._entail is None else self._entail(draft)
        unit, elements = call.work, sum(map(more_keys, writes)) if self._varies else 0
        if self._varies and (elements or (unit.size and unit.op not in _SWEEPS)):
            self._keys_a_document = max(1, (elements + len(writes)) // max(1, unit.size))
            if elements > self._most_writes and unit.size > 1:
                return None
        operations = self._operations(unit, writes)
        if self._most_in_all > self._most_writes and self._is_too_large(unit, operations):
            return None
        return operations, draft

    def _is_too_large(self, unit: Unit, operations: Operations) -> bool:
        """Whether one node of a cluster would get more than a call may hold: the keys of a unit may all be on it."""
        if operations.largest <= self._most_writes or unit.size <= 1 or not isinstance(unit, DocumentsUnit):
            return False
        self.writes = min(self.writes, self._most_writes)
        return True

    def _send(self, call: SentCall) -> None:
        """Text that is not UTF-8 is found by the packing: a check of every text before would cost as much again."""
        after, operations = self.log.launched(call), call.payload
        assert operations is not None
        try:
            self._writer.send(operations, after)
        except UnicodeEncodeError:
            unit, why = call.work, ("not_unicode", "a field holds text that is not UTF-8")
            writes = [write if is_unicode(write) else unit.dead(write, *why) for write in operations.added]
            call.payload = self._operations(unit, writes)
            self._writer.send(call.payload, after)

    def _receive(self) -> None:
        outcome = self._writer.receive()
        call = self.log.answered(_answer(outcome), outcome.refused + outcome.failed)
        if call.state is CallState.CONFIRMED:
            self._confirmed(call, outcome)

    def _take_refusals(self, call: SentCall) -> None:
        """What Redis said to the last attempt. Nothing is in flight."""
        attempted, refusals = call.payload, call.refusals
        call.refusals = ()
        assert attempted is not None
        for number, reason in refusals:
            if reason == "full":
                self._fill_dead_letters(attempted)
            take_refusal(call, attempted.writes[number], reason, self._control)

    def _fill_dead_letters(self, operations: Operations) -> NoReturn:
        """Store dead letters for which there is room; then end the run."""
        dead = (write for write in operations.writes if type(write) is Dead)
        named = {f"{write.projection} {write.ident}": write for write in dead}
        self.log.give_up()
        fill_up(self._writer.store, self._plan.name, self._plan.keep_dead_letters, named, self._store_dead)

    def _store_dead(self, dead: list[Dead]) -> None:
        self.apply(DeadLettersUnit(dead))
        self.drain()

    def _operations(self, unit: Unit, writes: list[Write]) -> Operations:
        contract = self._plan.contract
        operations = self._writer.operations(
            contract.name, contract.metadata.version, self._plan.keep_dead_letters, self._limited
        )
        operations.ends_replay = unit.ends_replay
        # A dead letter must not be written twice when a call has to be made again, and not be answered before all is
        # written.
        dead: list[Write] = [write for write in writes if type(write) is Dead]
        answered: list[Write] = [write for write in writes if type(write) is AnsweredDeadLetters]
        if dead or answered:
            writes = [write for write in writes if type(write) not in _OF_DEAD_LETTERS]
        if self._plan.feeds:
            # An entry cannot be written twice either, and comes before its dead letter only.
            writes.sort(key=lambda write: type(write) in OF_FEEDS)
        for write in writes:
            try:
                operations.add(write)
            except Exception as error:  # noqa: BLE001 - any error is that of this write
                why = why_unfit(error)
                dead.append(unit.dead(write, why.reason, why.detail))
        for dead_letter in [*dead, *answered]:
            operations.add(dead_letter)
        return operations

    def _confirmed(self, call: SentCall, outcome: Reply) -> None:
        unit, operations, name = call.work, call.payload, self._plan.name
        assert operations is not None
        telemetry.dead_letters_dropped(name, outcome.dropped)
        self._removals.add(unit.op, outcome.removed)
        self.swept += outcome.removed if unit.op in _SWEEPS else 0
        self._tell(unit)
        self.confirmed_at = time.monotonic()
        self._adapt(self._writer.call_s, len(operations.writes))
        telemetry.BATCH.labels(name).observe(self.confirmed_at - call.begun)
        telemetry.entries_shifted(name, outcome.shifted, log=not self._told_shifted)
        self._told_shifted = self._told_shifted or outcome.shifted > 0
        kinds = Counter(map(type, operations.writes))
        kinds.pop(OpenFeed, None)
        kinds.pop(Elsewhere, None)
        for kind, count in kinds.items():
            kept = outcome.kept if kind is Put else outcome.unsaid if kind is Judged else 0
            self._count(RESULTS[kind], count - kept)
            self._count("kept", kept)
        dead_letters = [write for write in operations.writes if type(write) in _OF_DEAD_LETTERS]
        self.dead_letters_changed = self.dead_letters_changed or bool(dead_letters)
        telemetry.dead_letters_stored(
            name, ((one.projection, one.reason, one.detail) for one in dead_letters if isinstance(one, Dead))
        )

    def _count(self, result: str, count: int) -> None:
        if count:
            telemetry.WRITES.labels(self._plan.name, "redis", result).inc(count)
            self.moved.count(result, count)

    def _adapt(self, seconds: float | None, writes: int) -> None:
        if seconds is None or seconds < QUICK_CALL_S:
            self.writes = min(self._most_in_all, self.writes + FEWEST_WRITES)
        elif seconds > SLOW_CALL_S and writes >= FEWEST_WRITES:
            self.writes = max(min(FEWEST_WRITES, self._most_writes), min(self.writes, writes) // 2)


def more_keys(write: Write) -> int:
    """How many keys a write of a whole document writes beyond the one that each has."""
    if type(write) is Elements:
        return len(write.puts)
    if type(write) is Put and isinstance(write.content, Memberships):
        return len(set(write.content.pairs[::2])) - 1
    return 0


def _answer(outcome: Reply) -> Answer:
    if outcome.behind:
        return Answer.LEFT_OUT
    if outcome.failed or outcome.partly:
        return Answer.FAILED
    return Answer.REFUSED if outcome.refused else Answer.APPLIED
