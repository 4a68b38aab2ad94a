"""Which slot of a Redis Cluster a key has, and which node has that slot. Pure."""

from __future__ import annotations

import hashlib
from binascii import crc_hqx
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

SLOTS = 16384
MOST_RANGES = 5
"""Of the slots of a node that people read; slots that moved one by one are hundreds of them."""


def slot_of(key: str | bytes) -> int:
    """As the server computes it: of a key with `{...}` in it, what stands between the first of these counts."""
    raw = key.encode(errors="surrogateescape") if isinstance(key, str) else key
    start = raw.find(b"{")
    if start >= 0:
        end = raw.find(b"}", start + 1)
        if end > start + 1:
            raw = raw[start + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


def place_in(slots: Collection[int]) -> str:
    """What the names of the records of a node begin with, so that all have one slot, which is one of these."""
    return next(place for number in count() if slot_of(place := f"{{{number}}}") in slots)


@dataclass(frozen=True, slots=True)
class Master:
    """One node that has slots."""

    host: str
    port: int
    ranges: tuple[tuple[int, int], ...]
    """Of slots, each with its first and last."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def slots(self) -> frozenset[int]:
        """All of them."""
        return frozenset(slot for first, last in self.ranges for slot in range(first, last + 1))

    @property
    def shown(self) -> str:
        """For people."""
        count = sum(last - first + 1 for first, last in self.ranges)
        some = [str(first) if first == last else f"{first}-{last}" for first, last in self.ranges]
        if len(some) > MOST_RANGES:
            some[MOST_RANGES:] = [f"and {len(some) - MOST_RANGES} more"]
        ranges = ", ".join(some)
        return f"{self}, {count} slots ({ranges})"


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Which node has which slot: the nodes in the order of their places, the first of which is the home."""

    masters: tuple[Master, ...]
    places: tuple[str, ...]
    """Of each master: where it has the records of syncd."""
    owners: Sequence[int]
    """Of each slot: the number of its master."""

    @property
    def digest(self) -> str:
        """The same as long as each slot is beside the same records; another address is no other map."""
        said = [(place, one.ranges) for place, one in zip(self.places, self.masters, strict=True)]
        return hashlib.blake2b(repr(sorted(said)).encode(), digest_size=8).hexdigest()

    def node_of(self, key: str | bytes) -> int:
        """The number of the master that has this key."""
        return self.owners[slot_of(key)]


def map_of(masters: Iterable[Master], known: Iterable[str], home: str) -> SlotMap:
    """The map with a place for each master: the first of `known` whose slot it has, else one of its own. `home` is
    known and comes first."""
    order = [home, *(place for place in known if place != home)]
    found: list[tuple[int, str, Master]] = []
    for master in sorted(masters, key=lambda one: one.ranges):
        slots = master.slots
        at = next((at for at, place in enumerate(order) if slot_of(place) in slots), None)
        found.append((len(order), place_in(slots), master) if at is None else (at, order[at], master))
    found.sort(key=lambda one: one[0])
    owners = [-1] * SLOTS
    for number, (_, _, master) in enumerate(found):
        for slot in master.slots:
            owners[slot] = number
    return SlotMap(tuple(one for _, _, one in found), tuple(place for _, place, _ in found), owners)
