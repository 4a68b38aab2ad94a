"""Numbers the changes of one cluster time, in the order of the stream: those of a transaction share one."""

from __future__ import annotations

from collections.abc import Iterable

from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO, Moment, token_time

NTH = "nth"
"""Field of an event: which of its cluster time it is, from 0."""
LAST = 2**32 - 1


class Numbering:
    """Of one run of a lane."""

    def __init__(self, event: Document | None, nth: int) -> None:
        """The last change of the stored position, and its number."""
        self._data = "" if event is None else event["_data"]
        self._time = ZERO if event is None else token_time(event)
        self._nth = nth

    def number(self, events: Iterable[Document]) -> list[Document]:
        """These events with their numbers. One that came before is left out: it would get another number."""
        found: list[Document] = []
        for event in events:
            token = event["_id"]
            data = token["_data"]
            if data <= self._data:
                continue
            time_of = token_time(token)
            self._nth = self._nth + 1 if time_of == self._time else 0
            self._time, self._data = time_of, data
            event[NTH] = self._nth
            found.append(event)
        return found


def entry_id(time: Moment, nth: int) -> str:
    """The id of the entry of a change: milliseconds and a number, each of 64 bits. Later for each later change."""
    both = int(time, 16)
    return f"{(both >> 32) * 1000}-{((both & LAST) << 32) + nth}"


def last_entry_id(time: Moment) -> str:
    """The last id that a change of this time can have."""
    return entry_id(time, LAST)
