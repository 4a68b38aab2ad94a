"""From keys to documents: reads what keys hold now, writes it, and says what became of each.

A member that its key has no more was removed, also where no entry says so: members do not expire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from syncd import telemetry
from syncd.errors import ProjectionError, TransientError
from syncd.plan.to_mongo.state import ABSENT, AWAY, FoundKey, StatePlan
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.state.became import Became, each
from syncd.to_mongo.state.positions import NEVER
from syncd.to_mongo.state.state_writer import MOST_STATEMENTS, StateWriter
from syncd.to_mongo.state.statements import Change
from syncd.to_mongo.state.store import Reading, StateStore

MOST_TURNS = 4
"""A Redis that went back once is as late as it is; more turns mean that another client writes these documents."""


@dataclass
class KeyOutcome(Became):
    """What became of keys."""

    put: int = 0
    deleted: int = 0
    gone: list[bytes] = field(default_factory=list)
    """Keys that are not there, without a report that they were deleted: expired, or evicted."""
    away: list[bytes] = field(default_factory=list)
    """Keys of which nothing is known: see AWAY."""

    def add(self, more: KeyOutcome) -> None:
        """See Became."""
        super().add(more)
        self.put += more.put
        self.deleted += more.deleted
        self.gone += more.gone
        self.away += more.away


class KeySync:
    """Of one contract, called by one thread. It keeps nothing: what is not done comes again."""

    def __init__(self, plan: StatePlan, store: StateStore, writer: StateWriter, most_keys: int) -> None:
        self._plan, self._store, self._writer, self._most_keys = plan, store, writer, most_keys

    def apply(self, keys: Mapping[bytes, str]) -> KeyOutcome:
        """The present state of keys, each with the position of a reported deletion, or "".

        Raises StoreError where it is not sure what is written, FencedError or LaterNumberError where nothing is. Any
        other error is narrowed by halves to the key that raises it, which is refused.
        """
        return each(self._apply, keys, KeyOutcome())

    def _apply(self, keys: Mapping[bytes, str]) -> KeyOutcome:
        outcome = KeyOutcome()
        # A key of another template may be one that syncd has no right to read.
        owned = [key for key in keys if self._plan.owns(key)]
        for key in keys.keys() - owned:
            outcome.refused[key] = Refused("foreign_key", self._plan.why_not(key))
        for changes in self._read_changes(owned, keys, outcome):
            self._write(changes, keys, outcome)
        return outcome

    def _write(self, changes: list[Change], keys: Mapping[bytes, str], outcome: KeyOutcome) -> None:
        for _ in range(MOST_TURNS):
            written = self._writer.write(changes)
            outcome.refused |= written.refused
            self._count(changes, {change.key for change in written.late}, outcome)
            if not written.late:
                return
            self._store.raise_watermark(written.ahead)
            telemetry.redis_went_back(self._plan.name, len(written.late))
            again = self._read_changes([change.key for change in written.late], keys, outcome)
            changes = [change for some in again for change in some]
        raise TransientError(
            "mongo", "another client writes `_syncd.pos` of the same documents; trying again"
        )

    def _read_changes(
        self, todo: list[bytes], keys: Mapping[bytes, str], outcome: KeyOutcome
    ) -> Iterator[list[Change]]:
        for part in self._store.by_node(todo):
            yield from self._read_part(part, keys, outcome)

    def _read_part(
        self, todo: list[bytes], keys: Mapping[bytes, str], outcome: KeyOutcome
    ) -> Iterator[list[Change]]:
        """Some changes at a time, so that large keys are not all in memory."""
        changes: list[Change] = []
        while todo:
            asked = todo[: self._most_keys]
            reading = self._store.read(asked)
            for key, found in zip(asked, reading.found, strict=False):
                if found.type == AWAY:
                    outcome.away.append(key)
                    continue
                if self._is_known(key, found):
                    continue
                try:
                    change = self._change(key, found, keys[key], reading)
                except ProjectionError as error:
                    outcome.refused[key] = Refused(error.reason, error.detail)
                    continue
                if change is None:
                    outcome.gone.append(key)
                else:
                    changes.append(change)
            todo = todo[len(reading.found) :]
            if len(changes) >= MOST_STATEMENTS or len(reading.found) < len(asked):
                yield changes
                changes = []
        if changes:
            yield changes

    def _is_known(self, key: bytes, found: FoundKey) -> bool:
        """Whether MongoDB holds this already."""
        return False

    def _change(self, key: bytes, found: FoundKey, deleted: str, reading: Reading) -> Change | None:
        document_id = self._plan.document_id(key)
        if found.is_there:
            return Change(key, document_id, reading.position, self._plan.update_of(key, found))
        if found.type == ABSENT:
            deleted = NEVER  # the key says so itself, also of a member that came and went behind the deletion
        elif not deleted:
            return None
        # Below the watermark a document's position may be of a time that Redis no longer knows, and says nothing.
        told = deleted if deleted > reading.watermark else NEVER
        return Change(key, document_id, reading.position, None, told)

    @staticmethod
    def _count(changes: list[Change], late: set[bytes], outcome: KeyOutcome) -> None:
        for change in changes:
            if change.key not in outcome.refused and change.key not in late:
                outcome.done.append(change.key)
                outcome.put += change.update is not None
                outcome.deleted += change.update is None
