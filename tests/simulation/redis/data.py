"""The keys of the model, with a journal: what a call has changed, and how it was before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

HASH, STRING, SET, LIST, ZSET, STREAM, JSON = (
    b"hash",
    b"string",
    b"set",
    b"list",
    b"zset",
    b"stream",
    b"ReJSON-RL",
)


class ReplyError(Exception):
    """An error reply."""


class Status(bytes):
    """A reply such as +OK."""


OK = Status(b"OK")


@dataclass(slots=True)
class Stream:
    """Entries by id, in order."""

    entries: dict[bytes, list[bytes]] = field(default_factory=dict)
    last: tuple[int, int] = (0, 0)
    added: int = 0


@dataclass(slots=True)
class Entry:
    """What a key holds."""

    kind: bytes
    value: Any
    expires: int | None = None
    """Epoch milliseconds."""

    def copied(self) -> Entry:
        """One that later changes leave alone."""
        if self.kind == JSON:
            return Entry(self.kind, copy.deepcopy(self.value), self.expires)
        if self.kind == STREAM:
            stream = Stream(self.value.entries.copy(), self.value.last, self.value.added)
            return Entry(self.kind, stream, self.expires)
        value = self.value if self.kind == STRING else self.value.copy()
        return Entry(self.kind, value, self.expires)


class Call(NamedTuple):
    """One command of a client, and how the keys that it changed were before."""

    name: bytes
    before: dict[bytes, Entry | None]


EMPTY: dict[bytes, Callable[[], Any]] = {
    HASH: dict,
    SET: dict,
    LIST: list,
    ZSET: dict,
    STREAM: Stream,
}
KEPT_CALLS = 64


class Data:
    """All keys. `now` gives epoch milliseconds."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._keys: dict[bytes, Entry] = {}
        self._before: dict[bytes, Entry | None] = {}
        self._frozen: int | None = None
        self.calls: list[Call] = []
        """The latest, for a replica that lags to lose."""

    def begin(self) -> None:
        """A command begins: time stands still in it."""
        self._before = {}
        self._frozen = self._now()

    def end(self, name: bytes) -> dict[bytes, Entry | None]:
        """It has ended. Returns what it changed, as that was before."""
        self._frozen = None
        if self._before:
            self.calls.append(Call(name, self._before))
            del self.calls[:-KEPT_CALLS]
        return self._before

    def undo(self, count: int) -> list[Call]:
        """Take the latest calls back, as a fail-over to a replica that lags does. Returns them."""
        lost = self.calls[len(self.calls) - count :] if count else []
        del self.calls[len(self.calls) - len(lost) :]
        for call in reversed(lost):
            for key, before in call.before.items():
                if before is None:
                    self._keys.pop(key, None)
                else:
                    self._keys[key] = before
        return lost

    @property
    def now(self) -> int:
        """Epoch milliseconds."""
        return self._now() if self._frozen is None else self._frozen

    def __iter__(self) -> Iterator[bytes]:
        """All keys that are there."""
        return (key for key in list(self._keys) if self.find(key) is not None)

    def find(self, key: bytes) -> Entry | None:
        """What a key holds, unless it has expired."""
        entry = self._keys.get(key)
        if entry is not None and entry.expires is not None and entry.expires <= self.now:
            self.remove(key)
            return None
        return entry

    def of(self, key: bytes, kind: bytes) -> Any:
        """The value of a key that must be of a kind; None where there is no key."""
        entry = self.find(key)
        if entry is None:
            return None
        if entry.kind != kind:
            raise ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return entry.value

    def change(self, key: bytes, kind: bytes) -> Any:
        """The same to be changed; an empty one where there is no key."""
        value = self.of(key, kind)
        self._note(key)
        if value is None:
            value = EMPTY[kind]()
            self._keys[key] = Entry(kind, value)
        return value

    def put(self, key: bytes, kind: bytes, value: Any, expires: int | None = None) -> None:
        """Replace whatever the key holds."""
        self._note(key)
        self._keys[key] = Entry(kind, value, expires)

    def expire(self, key: bytes, expires: int | None) -> int:
        """Set or take off the time to live. Returns 1 where there is such a key."""
        entry = self.find(key)
        if entry is None:
            return 0
        self._note(key)
        entry = self._keys[key]
        entry.expires = expires
        if expires is not None and expires <= self.now:
            self.remove(key)
        return 1

    def remove(self, key: bytes) -> int:
        """Returns how many keys went."""
        if key not in self._keys:
            return 0
        self._note(key)
        del self._keys[key]
        return 1

    def drop_empty(self, key: bytes) -> None:
        """A key whose last member went is gone. Streams stay."""
        entry = self._keys.get(key)
        if entry is not None and entry.kind in (HASH, SET, LIST, ZSET) and not entry.value:
            self.remove(key)

    def _note(self, key: bytes) -> None:
        """Before the first change of a key in a call: how it was."""
        if key not in self._before:
            entry = self._keys.get(key)
            self._before[key] = None if entry is None else entry.copied()
