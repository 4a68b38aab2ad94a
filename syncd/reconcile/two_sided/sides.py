"""What a look at both sides of some keys tells: for contracts whose application writes what is in Redis.

There the key is what counts, or both sides do. So what differs is asked of the two together, with what the lane
remembers of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from syncd.plan.keys.encode import encode_key_value
from syncd.plan.to_mongo.state import StatePlan
from syncd.reconcile.documents import Mark
from syncd.stores.mongo.lookup import Lookup
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO, Moment
from syncd.stores.redis.key_states import KeyStates, States
from syncd.stores.redis.store import RedisStore

NO_ENTRY = (0, 0)


class Point(NamedTuple):
    """How far a lane has to be, to have seen all that a look saw."""

    mongo: Moment = ZERO
    entry: tuple[int, int] = NO_ENTRY
    """Of the outbox."""
    redis: int = 0
    """Microseconds of Redis's clock."""

    def up_to(self, other: Point) -> Point:
        """The later of both."""
        return Point(max(self.mongo, other.mongo), max(self.entry, other.entry), max(self.redis, other.redis))


class Sight(NamedTuple):
    """One key that differs from its document."""

    mark: Mark
    source: str
    """Another one when what the lane goes by has changed: a difference counts while it has not."""
    is_done: bool = False
    """Whether the lane is known to have written this very state, so that nobody need ask it."""
    waits: bool = False
    """Whether the lane has yet to come to this key."""
    position: str = ""
    """`_syncd.pos` of the document."""


class Looked(NamedTuple):
    """What some keys are like."""

    sights: dict[bytes, Sight]
    """Those that differ."""
    documents: int
    """How many of them have a document."""
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
        """Of the last read of documents: no later one may be of an earlier time, whichever member answers."""

    @abstractmethod
    def pages(self) -> Iterator[list[bytes]]:
        """All keys of the contract, some at a time."""

    @abstractmethod
    def chunks(self, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """All documents that should have a key, so many at a time: how many these are, and the keys that are not
        there."""

    @abstractmethod
    def look(self, keys: Sequence[bytes]) -> Looked:
        """Compare these keys with their documents."""

    @abstractmethod
    def repair(self, key: bytes, sight: Sight) -> str:
        """What to ask of the lane, see stores/redis/records/repairs.py; "" where it could do nothing."""

    @abstractmethod
    def letter(self, key: bytes) -> str:
        """What a dead letter of this key is called, behind the projection."""

    def _documents(self, ids: list[Any]) -> dict[str, Document]:
        """Documents by ident, as they are at `self._time` at the latest."""
        documents: dict[str, Document] = {}
        for _, found in self._lookup.in_parts(ids, lambda: self._time):
            self._time = max(self._time, found.time)
            documents |= found.documents
        return documents


class KeySides(Sides):
    """Where a key tells the `_id` of its document."""

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
