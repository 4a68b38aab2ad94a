"""Whether a stream is still the one that a group has read: ids in a stream only grow, unless a person makes them not.

A stream that was emptied may get a smaller last id (XSETID), and one that was deleted comes back with ids of its own.
Entries below the group's position are then never delivered, and Redis does not say so. It shows in one of these:

- the last id of the stream lies below the group's position;
- its first entry lies below a first entry that was seen before;
- Redis counts entries that the group has yet to read, and behind its position there are none, check after check.

Where the group is gone as well, only an entry that the group has read can prove that the stream is the same. To read a
stream again from its first entry is always right: an entry that comes again finds its document there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from syncd.stores.redis.records.position import Fields

ZERO = "0-0"
MOST_CHECKS = 3
"""The count of what is left to read may be wrong for a moment, after entries were removed."""


def entry_order(entry: str) -> tuple[int, int]:
    """Ids of entries compare as these do."""
    first, _, second = entry.partition("-")
    return int(first), int(second or 0)


class StreamState(NamedTuple):
    """A stream and a group on it, at one moment."""

    last: str
    """The last id of the stream, whether its entry is there or not."""
    first: str
    """The first entry that is there; "" where there is none."""
    delivered: str
    """The group's position."""
    lag: int
    """Entries that the group has yet to read, as Redis counts; 0 where it cannot."""
    is_read: bool
    """Whether there is no entry behind the group's position."""


class History:
    """What was seen of one stream. `first` and `proof` are kept in Redis, see `fields`."""

    def __init__(self) -> None:
        self.first = ZERO
        self.proof = ""
        self._unread = 0

    def load(self, said: Mapping[str, str]) -> None:
        """Take what Redis has kept."""
        self.first = said.get(Fields.FIRST) or ZERO
        self.proof = said.get(Fields.PROOF) or ""
        self._unread = 0

    def fields(self) -> dict[str, str]:
        """For the position."""
        return {Fields.FIRST: self.first, Fields.PROOF: self.proof}

    def went_back(self, state: StreamState) -> bool:
        """Whether there are, or will be, entries at or below the group's position that it has not read."""
        self._unread = self._unread + 1 if state.lag > 0 and state.is_read else 0
        first = state.first or state.last
        found = (
            entry_order(state.last) < entry_order(state.delivered)
            or entry_order(first) < entry_order(self.first)
            or self._unread >= MOST_CHECKS
        )
        self.first = first
        return found

    def begin_again(self, first: str) -> None:
        """The stream is read again from its first entry."""
        self.first, self.proof, self._unread = first or ZERO, "", 0

    def proves(self, entry: str, said: Any) -> bool:
        """Whether an entry is the one that was read."""
        return bool(self.proof) and self.proof == proof_of(entry, said)

    @property
    def proof_entry(self) -> str:
        """The entry that can prove it; "" where none was read."""
        return self.proof.partition(" ")[0]


def proof_of(entry: str, said: Mapping[bytes, bytes]) -> str:
    """An entry and a digest of it; its values do not leave the stream."""
    content = b"".join(b"%d:%b" % (len(part), part) for pair in said.items() for part in pair)
    return f"{entry} {hashlib.blake2b(content, digest_size=8).hexdigest()}"
