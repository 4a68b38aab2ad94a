"""Compares both sides of some keys, of contracts whose application writes what is in Redis.

There the key is what counts, or both sides do. So both are compared together with what the lane remembers of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from syncd.plan.keys.encode import encode_key_value
from syncd.plan.to_mongo.state import StatePlan
from syncd.reconcile.document_comparison import Difference
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO, Moment
from syncd.stores.redis.key_states import KeyStates, States
from syncd.stores.redis.store import RedisStore

NO_ENTRY = (0, 0)


class Point(NamedTuple):
    """How far a lane has to be, to have seen all that a comparison saw."""

    mongo: Moment = ZERO
    entry: tuple[int, int] = NO_ENTRY
    """Of the outbox."""
    redis: int = 0
    """Microseconds of Redis's clock."""

    def up_to(self, other: Point) -> Point:
        """The later of both."""
        return Point(max(self.mongo, other.mongo), max(self.entry, other.entry), max(self.redis, other.redis))


class KeyDifference(NamedTuple):
    """One key that differs from its document."""

    difference: Difference
    source: str
    """Changes when what the lane decides by has changed: a difference counts while it has not."""
    is_done: bool = False
    """Whether the lane is known to have written this very state, so that there is no need to wait for it."""
    waits: bool = False
    """Whether the lane has yet to handle this key."""
    position: str = ""
    """`_syncd.pos` of the document."""


class SideComparison(NamedTuple):
    """The result for some keys."""

    differing: dict[bytes, KeyDifference]
    documents: int
    """How many of the keys have a document."""
    point: Point


@dataclass(frozen=True)
class Part:
    """What is read of a collection."""

    namespace: tuple[str, str]
    filter: Any
    find_projection: Any
    source: Any = None


class Sides(ABC):
    """Both sides of one contract, for one thread. Only reads."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._time = ZERO
        """Of the last read of documents: no later read may be of an earlier time, whichever member answers."""

    @abstractmethod
    def pages(self) -> Iterator[list[bytes]]:
        """All keys of the contract, some at a time."""

    @abstractmethod
    def chunks(self, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """All documents that should have a key, `size` at a time: how many these are, and those of their keys that are
        not there."""

    @abstractmethod
    def compare(self, keys: Sequence[bytes]) -> SideComparison:
        """Compare these keys with their documents."""

    @abstractmethod
    def repair(self, key: bytes, found: KeyDifference) -> str:
        """The request to the lane, see stores/redis/records/requests/repairs.py; "" where the lane could do nothing."""

    @abstractmethod
    def dead_letter(self, key: bytes) -> str:
        """The name of a dead letter of this key, behind the projection."""

    def _documents(self, ids: list[Any]) -> dict[str, Document]:
        """Documents by ident, as they are at `self._time` at the latest."""
        documents: dict[str, Document] = {}
        for _, found in self._lookup.in_parts(ids, lambda: self._time):
            self._time = max(self._time, found.time)
            documents |= found.documents
        return documents


class KeySides(Sides):
    """Where a key holds the `_id` of its document."""

    def __init__(self, redis: RedisStore, state: StatePlan, lookup: Lookup) -> None:
        super().__init__(lookup)
        self._state, self._states = state, KeyStates(redis, state)

    def pages(self) -> Iterator[list[bytes]]:
        """All keys of the template."""
        return self._states.pages()

    def _chunks(self, lookup: Lookup, size: int) -> Iterator[tuple[int, list[bytes]]]:
        cursor: Document | None = None
        while True:
            documents, self._time = lookup.chunk(cursor, size, self._time)
            if not documents:
                return
            keys = [self._state.key(document["_id"]) for document in documents]
            yield len(documents), self._states.absent([key for key in keys if key is not None])
            cursor = {"_id": documents[-1]["_id"]}

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, Document]:
        """The documents of keys."""
        ids, names = [], {}
        for key in keys:
            document_id = self._state.document_id(key)
            ids.append(document_id)
            names[encode_key_value(document_id)] = key
        return {names[ident]: document for ident, document in self._documents(ids).items()}

    def _point(self, states: States) -> Point:
        first, _, second = states.last.partition("-")
        return Point(self._time, (int(first), int(second)) if second else NO_ENTRY, states.moment)
