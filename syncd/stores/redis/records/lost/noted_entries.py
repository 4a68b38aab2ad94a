"""In a cluster: which entries of a stream have a dead letter, noted beside the stream.

Dead letters are at the home, and an entry is acknowledged on the node of its stream. A failover of the home may lose
the dead letter, and then nothing would be left of the entry. So that node notes it in the step that acknowledges it.
The note comes behind the dead letter, and goes before it: what is noted and has no dead letter has lost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from syncd.errors import SlotMovedError
from syncd.stores.redis.cluster.slots import place_in, slot_of
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import SCAN_COUNT, pages
from syncd.stores.redis.store import RedisStore, translated


class NotedEntries:
    """Of a contract that appends from this stream. Entries have the names that they have in `letters`. Thread-safe."""

    def __init__(self, store: RedisStore, contract: str, stream: str) -> None:
        self._store, self._contract, self._stream = store, contract, stream
        # Of the same slot, so that they are always where the stream is.
        self.key = ControlKeys(contract, place=place_in([slot_of(stream)])).noted
        """The set."""

    @property
    def _client(self) -> Any:
        """Of the node that has the stream, which may be another one after each error."""
        return self._store.at_key(self._stream).client

    def waiting(self, names: Sequence[str]) -> list[bool]:
        """Of each entry whether it needs a dead letter: it is not acknowledged yet, or noted."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            pipe.smismember(self.key, names)
            for entry in map(entry_of, names):
                pipe.xpending_range(self._stream, self._contract, entry, entry, 1)
            noted, *pending = pipe.execute()
        return [bool(one or found) for one, found in zip(noted, pending, strict=True)]

    def acknowledge(self, names: Iterable[str], stored: Sequence[str], dropped: Sequence[bytes]) -> None:
        """All of these. `stored`: with a dead letter; `dropped`: those whose dead letters had to go."""
        with translated():
            pipe = self._client.pipeline(transaction=True)
            if stored:
                pipe.sadd(self.key, *stored)
            if dropped:
                pipe.srem(self.key, *dropped)
            pipe.xack(self._stream, self._contract, *map(entry_of, names))
            pipe.execute()

    def forget(self, names: Sequence[str]) -> None:
        """What is a document by now, and what a person drops."""
        if names:
            with translated():
                self._client.srem(self.key, *names)

    def count(self) -> int:
        """How many, to be asked before dead letters are counted. 0 while their slot is on its way."""
        try:
            with translated():
                return int(self._client.scard(self.key))
        except SlotMovedError:
            return 0

    def lost(self) -> Iterator[list[str]]:
        """Those without a dead letter, page by page."""
        for page in pages(partial(self._client.sscan, self.key), count=SCAN_COUNT):
            if found := self._without(page):
                yield found

    def _without(self, names: list[bytes]) -> list[str]:
        there = are_there(self._store, self._contract, names)
        gone = [name for name, is_there in zip(names, there, strict=True) if not is_there]
        with translated():
            # One that a person has dropped meanwhile is not noted any more.
            still: Any = self._client.smismember(self.key, gone) if gone else []
        return [name.decode() for name, noted in zip(gone, still, strict=True) if noted]


def are_there(store: RedisStore, contract: str, names: Sequence[bytes]) -> list[bool]:
    """Of each name that dead letters have in `letters` whether one waits."""
    if not names:
        return []
    keys, home = ControlKeys(contract, place=store.place), store.client
    with translated():
        entries: Any = home.hmget(keys.dead_by_document, list(names))
        pipe = home.pipeline(transaction=False)
        for entry in entries:
            pipe.xrange(keys.dead, entry or "0-0", entry or "0-0")
        return [bool(found) for found in pipe.execute()]


def entry_of(name: str) -> str:
    """The entry of a name."""
    return name.rpartition(" ")[2]
