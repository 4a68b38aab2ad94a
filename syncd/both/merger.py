"""Brings keys and documents together: reads both, merges, and writes where they are still what was read.

Nothing is decided by what an event said. A crash at any point leaves what was agreed on, and what was about to be
written to MongoDB, beside the key; so the next merge sees what is there as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from syncd.both.capture import KeyChange
from syncd.both.context import MergeContext
from syncd.both.document_writer import DocumentUpdate
from syncd.both.pair import Pair, had_key, records
from syncd.both.store import PairWrite, is_asked
from syncd.errors import FatalError, ProjectionError, TransientError
from syncd.plan.both.merge import Base, Conflict, is_by_time, merge, pending
from syncd.plan.both.plan import Record, digests, is_agreed, known_of, stored
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_mongo.state import FoundKey
from syncd.stores.mongo.store import Document
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.state.became import Became, each

MOST_KEYS = 1000
"""Read and written together."""
MOST_MERGE_REQUESTS = 20_000
"""Above this the stream waits for the merger, so that merge requests do not grow with a backlog."""
MOST_TURNS = 3
"""So often in a row a key or a document may change between our read and our write, before it waits."""


@dataclass
class MergeOutcome(Became):
    """The results of a merge, by key."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By store and result; `echo`: key and document were alike already."""
    conflicts: list[Conflict] = field(default_factory=list)
    waiting: set[bytes] = field(default_factory=set)
    """Keys that are not there, for a reason that is not known yet."""
    held: set[bytes] = field(default_factory=set)
    """Keys of which it is not known yet which side changed last, and those that change faster than they are merged."""
    full: TransientError | None = None
    """Redis has no memory for what goes there."""

    def add(self, more: MergeOutcome) -> None:
        """See Became."""
        super().add(more)
        self.counts += more.counts
        self.conflicts += more.conflicts
        self.waiting |= more.waiting
        self.held |= more.held
        self.full = self.full or more.full


class Merger:
    """Of one contract, called by one thread, which holds the lease."""

    def __init__(self, context: MergeContext) -> None:
        self._plan, self._store, self._writer = context.plan, context.store, context.writer
        self._lookup, self._watermarks = context.lookup, context.watermarks
        self._capture, self._newest = context.capture, context.newest
        self._number, self._turns = context.number, 0
        horizon = self._watermarks.horizon
        self._time = max(horizon, self._store.latest_read() or horizon)
        self.merge_requests_left = 0
        self._written: dict[bytes, str] = {}
        """Positions under which MongoDB was written, of keys that have to be read again."""

    def apply(self, words: Mapping[bytes, KeyChange]) -> MergeOutcome:
        """Merge keys. Raises StoreError where it is not sure what is written, FencedError or LaterNumberError where
        nothing is. Any other error is narrowed by halves to the key that raises it, which is refused."""
        return each(self._apply, words, MergeOutcome())

    def _apply(self, words: Mapping[bytes, KeyChange]) -> MergeOutcome:
        outcome = MergeOutcome()
        todo = []
        for key in words:
            if self._plan.state.owns(key):
                todo.append(key)
            else:
                outcome.refused[key] = Refused("foreign_key", self._plan.state.why_not(key))
        for _ in range(MOST_TURNS):
            again: list[bytes] = []
            while todo:
                count, left = self._turn(todo[:MOST_KEYS], words, outcome)
                again += left
                todo = todo[count:]
            todo = again
            if not todo:
                break
        # A key that changes all the time is held up alone.
        outcome.held |= set(todo)
        decided = [*outcome.done, *outcome.refused]
        self._newest.forget(decided)
        for key in decided:
            self._written.pop(key, None)
        return outcome

    def _turn(
        self, keys: Sequence[bytes], words: Mapping[bytes, KeyChange], outcome: MergeOutcome
    ) -> tuple[int, list[bytes]]:
        """How many of these keys were compared, and which changed meanwhile and have to be read again."""
        self._turns += 1
        self._newest.begin()
        # Before MongoDB is asked: a change from here on makes another merge request, which stays.
        merge_requests = dict(zip(keys, self._store.merge_requests(keys), strict=True))
        read = dict(zip(keys, self._store.read_first(keys), strict=False))
        known = {key for key, found in read.items() if merge_requests[key] is None and is_agreed(found)}
        outcome.counts["redis", "echo"] += len(known)
        outcome.done += known
        found = {key: one for key, one in read.items() if key not in known}
        return len(read), self._merge(found, merge_requests, words, outcome) if found else []

    def _merge(
        self,
        read: dict[bytes, FoundKey],
        merge_requests: Mapping[bytes, int | None],
        words: Mapping[bytes, KeyChange],
        outcome: MergeOutcome,
    ) -> list[bytes]:
        documents = self._documents([self._plan.state.document_id(key) for key in read])
        silent, looked, steps = {}, [], []
        for key, found in read.items():
            document_id = self._plan.state.document_id(key)
            document = documents.get(encode_key_value(document_id))
            record = known_of(found, document, self._written.get(key, ""))
            is_silent = (
                document is not None and not found.is_there and not words.get(key, KeyChange()).is_told
            )
            if is_silent and had_key(record):
                silent[key] = found
            looked.append((key, document_id, found, document, record))
        deleted, waiting = self._capture.decide(silent) if silent else (set(), set())
        outcome.waiting |= waiting
        merged = []
        for key, document_id, found, document, record in looked:
            if key in waiting:
                continue
            word = words.get(key, KeyChange())
            if key in deleted:
                word = word._replace(deleted=True)
            try:
                pair = self._pair(key, document_id, found, document, record, merge_requests[key], word)
                if pair is None:
                    outcome.held.add(key)
                else:
                    merged.append(pair)
            except ProjectionError as error:
                outcome.refused[key] = Refused(error.reason, error.detail)
                steps.append(PairWrite(key, found.digest, merge_requests[key], "="))
        return self._write(merged, steps, outcome)

    def _documents(self, ids: list[Any]) -> dict[str, Document]:
        """Documents by the text of their `_id`, read at or after all that was read, or seen in the stream, before."""
        documents: dict[str, Document] = {}
        for _, found in self._lookup.in_parts(ids, lambda: max(self._time, self._watermarks.horizon)):
            self._time = found.time
            documents |= found.documents
        return documents

    def _pair(
        self,
        key: bytes,
        document_id: Any,
        found: FoundKey,
        document: Document | None,
        record: Record | None,
        merge_request: int | None,
        word: KeyChange,
    ) -> Pair | None:
        """None where it is not known yet which side changed last."""
        redis, mongo = self._plan.of_key(found), self._plan.of_document(document)
        base, of_redis, of_mongo = record.base if record else None, digests(redis), digests(mongo)
        how = {"deleted": word.deleted, "restore": is_asked(merge_request)}
        merged = merge(base, of_redis, of_mongo, self._plan.rules, redis_is_newer=False, **how)
        if is_by_time(merged, self._plan.rules):
            # While the stream waits for the merger, the merger must not wait for the stream.
            is_held_up = self.merge_requests_left > MOST_MERGE_REQUESTS
            newer = self._newest.is_redis(
                key,
                word,
                merge_request,
                of_mongo or {},
                self._time,
                had_base=record is not None,
                at_once=is_held_up,
            )
            if newer is None:
                return None
            merged = merge(base, of_redis, of_mongo, self._plan.rules, redis_is_newer=newer, **how)
        return Pair(key, document_id, found, document, redis, mongo, record, merge_request, merged)

    def _write(self, pairs: list[Pair], steps: list[PairWrite], outcome: MergeOutcome) -> list[bytes]:
        """First what goes to MongoDB, then what goes to Redis. Returns keys that have to be read again."""
        position = self._writer.next_position
        updates = [self._update(pair) for pair in pairs if pair.changes_mongo]
        if updates:
            self._store.keep(
                {pair.key: self._pending(pair, position) for pair in pairs if pair.changes_mongo}
            )
        self._writer.record([record for pair in pairs for record in records(self._plan, pair)])
        written = self._writer.write(updates, position)
        outcome.refused |= written.refused
        left: dict[bytes, Pair] = {}
        for pair in pairs:
            if pair.key in written.refused:
                steps.append(PairWrite(pair.key, pair.found.digest, pair.merge_request, "="))
            elif pair.key not in written.missed:
                left[pair.key] = pair
                if pair.changes_mongo:
                    self._written[pair.key] = position
                steps.append(self._step(pair))
        return [*written.missed, *self._take(steps, left, outcome)]

    def _take(
        self, steps: list[PairWrite], pairs: Mapping[bytes, Pair], outcome: MergeOutcome
    ) -> list[bytes]:
        """The steps in Redis, and their results."""
        done, again, refused = set(pairs), [], []
        for step, result in self._results(steps, outcome):
            if result != 1:
                done.discard(step.key)
            if isinstance(result, str):
                outcome.refused[step.key] = _refused_by_redis(result)
                refused.append(step._replace(record="=", operation=["-", 0]))
            elif result == 0:
                again.append(step.key)
        for key in done:
            _count(pairs[key], outcome)
            outcome.done.append(key)
            outcome.conflicts += pairs[key].merged.conflicts
        if refused:
            self._store.merge(refused, self._time)
        return again

    def _results(
        self, steps: list[PairWrite], outcome: MergeOutcome
    ) -> Iterator[tuple[PairWrite, int | str | None]]:
        """What Redis says to each step; None where its memory is full. Then the key, which keeps its merge
        request, is left alone."""
        steps = [
            step
            for step in steps
            if step.merge_request is not None or step.record != "=" or step.operation[1]
        ]
        for part in ([s for s in steps if not s.needs_memory], [s for s in steps if s.needs_memory]):
            if not part:
                continue
            try:
                self.merge_requests_left, said = self._store.merge(part, self._time)
            except TransientError as error:
                if not part[0].needs_memory or "maxmemory" not in str(error):
                    raise
                outcome.full = error
                yield from ((step, None) for step in part)
            else:
                yield from zip(part, said, strict=True)

    def _update(self, pair: Pair) -> DocumentUpdate:
        if pair.merged.delete == "document":
            return DocumentUpdate(pair.key, pair.id, pair.document, {}, (), delete=True)
        redis, paths = pair.redis or {}, {field.name: field.path for field in self._plan.fields}
        sets = {paths[name]: redis[name].content for name in pair.merged.to_mongo if name in redis}
        unsets = [paths[name] for name in pair.merged.to_mongo if name not in redis]
        return DocumentUpdate(pair.key, pair.id, pair.document, sets, unsets)

    @property
    def _version(self) -> str:
        """Of an agreement: no other one has it."""
        return f"{self._number:x}.{self._turns}"

    def _pending(self, pair: Pair, position: str) -> tuple[str, Record]:
        """What was agreed on, with what is about to be written to MongoDB under this position."""
        record = pair.record
        base = pending(record.base if record else None, digests(pair.mongo), pair.merged)
        written = record.written if record else ""
        return stored(pair.found.known)[0], Record(base, pair.version, position, written)

    def _step(self, pair: Pair) -> PairWrite:
        merged, found = pair.merged, pair.found
        operation: list[Any] = ["-", 0]
        if merged.delete == "key":
            operation = ["d", 1, found.type]
        elif pair.changes_redis:
            operation = self._plan.operation(pair.redis, pair.mongo or {}, merged.to_redis)
        record: Record | str | None = None
        digest, before = stored(found.known)
        if merged.agreed is not None:
            record = Record(Base(merged.agreed), self._version)
            is_same = before is not None and before.base == record.base and digest == found.digest
            record = "=" if is_same and not operation[1] else record
        elif merged.lost and pair.record is not None and not pair.record.base.lost:
            record = replace(pair.record, base=pair.record.base._replace(lost=True))
        elif merged.keep or not found.known:
            record = "="
        return PairWrite(pair.key, found.digest, pair.merge_request, record, operation)


def _refused_by_redis(error: str) -> Refused:
    if "NOPERM" in error or "ACL failure" in error:
        raise FatalError("redis", f"Redis refuses us: {error[:200]}; fix the ACL of SYNCD_REDIS_URL's user")
    return Refused("redis_refused", f"Redis refused the write: {error[:200]}")


def _count(pair: Pair, outcome: MergeOutcome) -> None:
    merged = pair.merged
    done = {
        ("redis", "put"): bool(merged.to_redis),
        ("mongo", "put"): pair.changes_mongo and not merged.delete,
        ("redis", "delete"): merged.delete == "key",
        ("mongo", "delete"): merged.delete == "document",
    }
    outcome.counts.update(what for what, is_done in done.items() if is_done)
    if not any(done.values()):
        outcome.counts["redis", "echo"] += 1
