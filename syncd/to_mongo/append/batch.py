"""Entries of one delivery with their documents, and what becomes of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from bson.raw_bson import RawBSONDocument

from syncd.errors import ProjectionError
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.columns import Said
from syncd.to_mongo.append.group import Entries
from syncd.to_mongo.narrowed import narrowed


class Refused(NamedTuple):
    """Why a document cannot be written. No value of it is in here."""

    reason: str
    detail: str


@dataclass(slots=True)
class EntryBatch:
    """Entries in the order of the stream. `places` are those of the documents among the entries."""

    entries: list[str]
    documents: list[RawBSONDocument] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    refused: dict[str, Refused] = field(default_factory=dict)
    """By entry: those that cannot be documents."""
    gone: int = 0
    """Entries that another client has removed from the stream meanwhile."""

    def without(self, entries: Collection[str]) -> EntryBatch:
        """The others, in places of their own."""
        if not entries:
            return self
        left = [entry for entry in self.entries if entry not in entries]
        place = {entry: at for at, entry in enumerate(left)}
        rest = EntryBatch(
            left, refused={e: why for e, why in self.refused.items() if e in place}, gone=self.gone
        )
        for document, at in zip(self.documents, self.places, strict=True):
            if (entry := self.entries[at]) in place:
                rest.documents.append(document)
                rest.places.append(place[entry])
        return rest


@dataclass(slots=True)
class BatchOutcome:
    """What became of a batch."""

    refused: dict[str, Refused]
    repeated: int = 0
    """Documents that were there already."""
    parked: int = 0
    """New dead letters."""


class Delivery(Protocol):
    """How batches get into a collection, each entry once."""

    alone: bool
    """Whether no other daemon delivers."""
    at_once: int
    """How many batches may be on their way."""

    def begin(self) -> tuple[EntryBatch, BatchOutcome] | None:
        """Before the first batch of a run: finish what a run before has left."""

    def turn(self, following: EntryBatch | None) -> tuple[EntryBatch, BatchOutcome] | None:
        """By the lane's thread, before each batch and behind the last. Where `at_once` is 1 no batch is on its way.
        Returns one that has ended by it."""

    def meanwhile(self) -> None:
        """By the lane's thread, when a batch has been sent: what need not be done before."""

    def deliver(self, batch: EntryBatch) -> BatchOutcome | None:
        """By any thread: write the documents, acknowledge the entries, park what is refused; None where the next `turn`
        ends it. Raises StoreError where it is not known what happened; then the run ends, and the next finds out."""

    def deliver_alone(self, batch: EntryBatch) -> BatchOutcome:
        """By the lane's thread, when nothing else is on its way: all of it."""

    def keep(self) -> None:
        """Once a second. Raises FencedError where another daemon has the work."""


def make_batch(plan: AppendPlan, entries: Entries) -> EntryBatch:
    """The documents of entries. One that cannot be one is refused."""
    there, gone = entries.parted()
    documents, refused = _documents(plan, there.ids, there.said)
    places = [at for at, said in enumerate(entries.said) if said] if gone else list(range(len(entries)))
    if refused:
        places = [place for at, place in enumerate(places) if at not in refused]
    why = {there.ids[at]: Refused(error.reason, error.detail) for at, error in sorted(refused.items())}
    return EntryBatch(entries.ids, documents, places, why, len(gone))


def _documents(
    plan: AppendPlan, ids: list[str], said: Sequence[Said]
) -> tuple[list[RawBSONDocument], dict[int, ProjectionError]]:
    """`plan.documents`; any other error is narrowed by halves to the entry that raises it."""

    def work(part: Sequence[int]) -> tuple[list[RawBSONDocument], dict[int, ProjectionError]]:
        places = slice(part[0], part[-1] + 1) if part else slice(0)
        return plan.documents(ids[places], said[places])

    documents: list[RawBSONDocument] = []
    refused: dict[int, ProjectionError] = {}
    for part, made in narrowed(work, range(len(ids))):
        if isinstance(made, ProjectionError):
            refused[part[0]] = made
        else:
            documents += made[0]
            refused |= {part[at]: why for at, why in made[1].items()}
    return documents, refused
