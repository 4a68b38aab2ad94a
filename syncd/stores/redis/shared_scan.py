"""One SCAN for all lanes that look for keys at the same time.

Redis goes through all of its keys for each SCAN: hundreds of lanes that begin together would have it do so hundreds of
times. A lane that comes while another one scans waits a moment for more, and a thread goes through the keys for all
who came. A lane that does not take its keys holds up no other: it goes on alone from where it was left.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from redis import Redis

from syncd.plan.keys.templates import glob_literal

AT_ONCE = 1000
"""Keys that Redis goes through in one call, about."""
GATHER_S = 0.2
"""How long the first that waits waits for others."""
PAGE = 500
"""Keys that are handed over together, about."""
MOST_WAITING = 100_000
"""Keys that may wait for all lanes together, some 10 MB."""
STUCK_S = 1.0
"""So long the others wait for lanes that take nothing."""
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class _Alone:
    """Go on by yourself."""

    cursor: int


_Item: TypeAlias = list[bytes] | _Alone | Exception | None


class _Seat:
    """What one lane wants, and its keys on their way to it: the scan puts, the lane takes."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix, self.found = prefix, list[bytes]()
        self.has_left = False
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._put = self.taken = 0

    @property
    def waiting(self) -> int:
        """How many keys it has not taken yet."""
        return self._put - self.taken

    def deliver(self) -> None:
        """Hand over what was found."""
        if self.found:
            self._put += len(self.found)
            self._items.put(self.found)
            self.found = []

    def end(self, how: _Alone | Exception | None) -> None:
        """There is no more, or not from this scan."""
        self.deliver()
        self._items.put(how)

    def pages(self) -> Generator[list[bytes], None, int | None]:
        """Its keys. Empty pages while it waits. Returns the cursor from which it has to go on alone."""
        while True:
            try:
                item = self._items.get(timeout=POLL_S)
            except queue.Empty:
                yield []
                continue
            if isinstance(item, Exception):
                raise item
            if not isinstance(item, list):
                return None if item is None else item.cursor
            self.taken += len(item)
            yield item


class SharedScan:
    """Of one server. Thread-safe."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._lock, self.turn = threading.Lock(), threading.Lock()
        self._lanes = 0
        self._next: _Group | None = None

    def pages(self, prefix: str, pattern: str) -> Iterator[list[bytes]]:
        """Pages of the keys that begin so, some perhaps empty, and none of another pattern where the lane is alone.
        `pattern`: for MATCH. Raises errors of the driver."""
        with self._lock:
            seat = self._seat(prefix.encode()) if self._lanes else None
            self._lanes += 1
        try:
            cursor = 0 if seat is None else (yield from seat.pages())
            if cursor is not None:
                yield from self._alone(cursor, pattern)
        finally:
            with self._lock:
                self._lanes -= 1
            if seat is not None:
                seat.has_left = True

    def _alone(self, cursor: int, pattern: str) -> Iterator[list[bytes]]:
        while True:
            cursor, page = self.scan(cursor, pattern)
            if page:
                yield page
            if cursor == 0:
                return

    def scan(self, cursor: int, pattern: str) -> tuple[int, list[bytes]]:
        """One call."""
        found: tuple[int, list[bytes]] = self._client.scan(cursor, match=pattern, count=AT_ONCE)  # type: ignore[assignment]
        return found

    def _seat(self, prefix: bytes) -> _Seat:
        seat = _Seat(prefix)
        if self._next is None:
            group = _Group(self)
            group.seats.append(seat)
            group.start()  # where there are too many threads this raises, and no one may wait for the group
            self._next = group
        else:
            self._next.seats.append(seat)
        return seat

    def closed(self, group: _Group) -> list[_Seat]:
        """The seats of a group, which takes no more from now on."""
        with self._lock:
            self._next = None
        return group.seats


class _Group(threading.Thread):
    """Scans once for those who came together."""

    def __init__(self, shared: SharedScan) -> None:
        super().__init__(name="shared-scan", daemon=True)
        self._shared = shared
        self.seats: list[_Seat] = []

    def run(self) -> None:
        """Until everything is handed over."""
        time.sleep(GATHER_S)
        with self._shared.turn:
            self.seats = self._shared.closed(self)
            if len(self.seats) == 1:
                self._end(self.seats, _Alone(0))
                return
            try:
                self._scan()
            except Exception as error:  # noqa: BLE001 - every lane that waits raises it
                self._end(self.seats, error)

    def _end(self, seats: Iterable[_Seat], how: _Alone | Exception | None) -> None:
        for seat in seats:
            seat.end(how)
        self.seats = [seat for seat in self.seats if seat not in seats]

    def _scan(self) -> None:
        by_prefix: dict[bytes, list[_Seat]] = {}
        for seat in self.seats:
            by_prefix.setdefault(seat.prefix, []).append(seat)
        lengths = sorted({len(prefix) for prefix in by_prefix})
        pattern, cursor = _pattern([*by_prefix]), 0
        while self._has_room(cursor):
            cursor, keys = self._shared.scan(cursor, pattern)
            for key in keys:
                for length in lengths:
                    for seat in by_prefix.get(key[:length], ()):
                        seat.found.append(key)
            for seat in self.seats:
                if len(seat.found) >= PAGE:
                    seat.deliver()
            if cursor == 0:
                self._end(self.seats, None)

    def _has_room(self, cursor: int) -> bool:
        """Wait for lanes that have much to take. Returns whether any is left; those that took nothing go on alone."""
        before, since = {seat: seat.taken for seat in self.seats}, time.monotonic()
        while True:
            self.seats = [seat for seat in self.seats if not seat.has_left]
            if sum(seat.waiting + len(seat.found) for seat in self.seats) <= MOST_WAITING:
                return bool(self.seats)
            for seat in self.seats:  # what hundreds have less than a page of, no one could take
                seat.deliver()
            if time.monotonic() - since > STUCK_S:
                stuck = [seat for seat in self.seats if seat.waiting and seat.taken == before[seat]]
                self._end(stuck, _Alone(cursor))
                before, since = {seat: seat.taken for seat in self.seats}, time.monotonic()
            time.sleep(POLL_S / 10)


def _pattern(prefixes: list[bytes]) -> str:
    """For what begins as they all do."""
    first, last = min(prefixes), max(prefixes)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return glob_literal(first[:length].decode(errors="ignore")) + "*"
