"""Keys that have changed and are not in MongoDB yet: bounded, and each once, however often it changes."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from syncd.plan.to_mongo.gone import Gone

DEBOUNCE_S = 0.05
"""So long a changed key waits for more changes: an application often writes in several commands."""
AGAIN_S = 0.5
"""A key that changes on and on is read so often."""
SLACK_S = 0.01
"""A key that is due so soon goes along: what changed together is read together."""
MOST_BYTES = 64 * 1024 * 1024
"""Of all names together; of an entry beside its name there are some 300 bytes."""


_GONE = {
    b"del": Gone.DELETED,
    b"rename_from": Gone.DELETED,
    b"move_from": Gone.DELETED,
    b"expired": Gone.EXPIRED,
    b"evicted": Gone.EVICTED,
}  # fmt: skip
"""Events after which a key is not there. All others mean a change: what became of it is read."""
_OTHER = {*_GONE, b"rename_to", b"copy_to", b"restore", b"move_to"}
"""Events after which a name stands for no key, or for another one than before."""


class ChangedKey(NamedTuple):
    """One changed key, as it is handed out."""

    key: bytes
    gone: Gone
    since: float
    """Monotonic time of its first change."""
    is_other: bool = False
    """Whether the key of this name went, or another one took it: nothing is left of what was known."""


class _Entry:
    __slots__ = ("due", "gone", "is_other", "since")

    def __init__(self, since: float, due: float, gone: Gone, is_other: bool) -> None:
        self.since, self.due, self.gone, self.is_other = since, due, gone, is_other


class ChangedKeys:
    """One thread notes, another one takes. Above `most` keys it forgets them all and says so: then everything has to be
    compared, which takes longer and no memory."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._entries: dict[bytes, _Entry] = {}
        self._order: list[tuple[float, bytes]] = []
        self._read: OrderedDict[bytes, float] = OrderedDict()
        self._bytes = 0
        self._collapsed = 0
        self._lost: float | None = None
        """Since when the oldest of those waited that were forgotten."""
        self._ready = threading.Condition()

    def note(self, key: bytes, event: bytes) -> None:
        """Something happened to a key."""
        with self._ready:
            entry = self._entries.get(key)
            if entry is not None:
                entry.gone = _GONE.get(event, Gone.NO_WORD)
                entry.is_other |= event in _OTHER
                return
            now = self._clock()
            read = self._read.get(key)
            due = now + DEBOUNCE_S if read is None else max(now + DEBOUNCE_S, read + AGAIN_S)
            self._put(key, _Entry(now, due, _GONE.get(event, Gone.NO_WORD), event in _OTHER))
            if len(self._entries) == 1:
                self._ready.notify()

    def put_back(self, taken: Sequence[ChangedKey], delay_s: float = 0.0) -> None:
        """These are not done. What was noted meanwhile is later, and counts."""
        with self._ready:
            due = self._clock() + delay_s
            for key, gone, since, is_other in taken:
                entry = self._entries.get(key)
                if entry is None:
                    self._put(key, _Entry(since, due, gone, is_other))
                else:
                    entry.since = min(since, entry.since)
                    entry.is_other |= is_other

    def _put(self, key: bytes, entry: _Entry) -> None:
        if len(self._entries) >= self._most or self._bytes + len(key) > MOST_BYTES:
            self._collapsed += len(self._entries) + 1
            self._lost = self._oldest(entry.since)
            self._clear()
            return
        self._entries[key] = entry
        self._bytes += len(key)
        heapq.heappush(self._order, (entry.due, key))

    def take(self, count: int) -> list[ChangedKey]:
        """Keys that have waited long enough, oldest first; from now on they are the caller's."""
        with self._ready:
            now = self._clock()
            found: list[ChangedKey] = []
            self._forget_reads(now)
            while self._order and len(found) < count and self._order[0][0] <= now + SLACK_S:
                _, key = heapq.heappop(self._order)
                entry = self._entries.pop(key)
                self._bytes -= len(key)
                self._was_read(key, now)
                found.append(ChangedKey(key, entry.gone, entry.since, entry.is_other))
            return found

    def _was_read(self, key: bytes, now: float) -> None:
        self._read[key] = now
        self._read.move_to_end(key)
        if len(self._read) > self._most:  # an older one is only read earlier than it need be
            self._read.popitem(last=False)

    def _forget_reads(self, now: float) -> None:
        while self._read:
            key, read = next(iter(self._read.items()))
            if read + AGAIN_S > now:
                return
            del self._read[key]

    def words(self, keys: Sequence[bytes]) -> dict[bytes, Gone]:
        """What is known of keys that the caller reads out of turn."""
        with self._ready:
            return {key: entry.gone for key in keys if (entry := self._entries.get(key)) is not None}

    def wait(self, timeout: float) -> None:
        """Until a key is due, at most so long."""
        with self._ready:
            if not self._order:
                self._ready.wait(timeout)
            pause = min(timeout, self._order[0][0] - self._clock()) if self._order else 0.0
        if pause > 0:
            time.sleep(pause)

    @property
    def has_collapsed(self) -> bool:
        """Whether keys were forgotten since the last call of `collapsed`."""
        return self._collapsed > 0

    def collapsed(self) -> int:
        """How many keys were forgotten since the last call; all keys have to be compared then."""
        with self._ready:
            count, self._collapsed, self._lost = self._collapsed, 0, None
            return count

    def clear(self, *, but: Collection[Gone] = ()) -> None:
        """Forget all: another daemon works, or everything is compared anyway. Not those that went in one of these
        ways."""
        with self._ready:
            kept = {key: entry for key, entry in self._entries.items() if entry.gone in but}
            self._clear()
            for key, entry in kept.items():
                self._put(key, entry)

    def _clear(self) -> None:
        self._entries.clear()
        self._order.clear()
        self._read.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def oldest(self) -> float:
        """Seconds that the oldest key has waited, also one that was forgotten; 0 where none is there."""
        with self._ready:
            now = self._clock()
            return max(0.0, now - self._oldest(now))

    def _oldest(self, default: float) -> float:
        since = (entry.since for entry in self._entries.values())
        return min(default if self._lost is None else self._lost, min(since, default=default))
