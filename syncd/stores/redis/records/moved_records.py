"""Records of keys that have another node of a cluster now: what all kinds of them have in common, and sets of keys.

What goes is first written where it belongs, and then taken from where it was: where that is broken off, it is done once
more from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.types import SHARED
from syncd.stores.redis.cluster.nodes import NodeStore
from syncd.stores.redis.cluster.slots import SlotMap
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys, Fields
from syncd.stores.redis.scan import SCAN_COUNT, pages
from syncd.stores.redis.store import translated

WHOLE = b"syncd:"
"""A member of `foreign` that is no key."""

Command: TypeAlias = "tuple[str | bytes, ...]"


class Kind(Enum):
    """Which records a projection has beside its keys."""

    KEYS = auto()
    """The map from `_id` to key, and the one back."""
    ELEMENTS = auto()
    """The same, with several keys a document."""
    MEMBERS = auto()
    """The map of members, and their deadlines."""
    FEED = auto()
    """The last entry, and the documents that match."""


class Named(NamedTuple):
    """A projection, as records say it."""

    projection: str
    template: str
    type: str

    @property
    def kind(self) -> Kind | None:
        """None where a key follows from `_id`."""
        if self.type.endswith(SHARED):
            return Kind.MEMBERS
        rules = TYPE_RULES.get(self.type)  # type: ignore[call-overload]
        if rules is not None and rules.fed:
            return Kind.FEED
        parsed = KeyTemplate.recorded(self.template)
        if parsed.each:
            return Kind.ELEMENTS
        return None if parsed.by_id else Kind.KEYS

    @property
    def is_series(self) -> bool:
        """Whether its members are samples."""
        rules = TYPE_RULES.get(self.type.removesuffix(SHARED))  # type: ignore[call-overload]
        return rules is not None and rules.content == "sample"

    @property
    def stream(self) -> str:
        """The key of a feed."""
        return KeyTemplate.recorded(self.template).prefix


class Moved:
    """Brings what it is given to the nodes of a map. The leases of all places are held, so nothing else changes it."""

    def __init__(
        self,
        slots: SlotMap,
        nodes: Sequence[NodeStore],
        at: Mapping[str, NodeStore],
        leases: Mapping[str, Lease],
    ) -> None:
        """`at`: where each place is; `leases`: by place."""
        self._map, self._nodes, self._at, self._leases = slots, nodes, at, leases

    @property
    def places(self) -> Sequence[str]:
        """Those of all nodes, and those that no node has any more."""
        return list(self._leases)

    def keys(self, place: str) -> ControlKeys:
        """Names of the records of a place."""
        return self._leases[place].keys

    def client(self, place: str) -> Any:
        """Of the server that has them."""
        return self._at[place].client

    def place_of(self, key: str | bytes) -> str:
        """Of the node that has a key."""
        return self._nodes[self._map.node_of(key)].place

    def elsewhere(
        self, place: str, keys: Iterable[bytes], key_of: Callable[[bytes], bytes] = bytes
    ) -> Iterator[tuple[str, list[bytes]]]:
        """Keys that the node of this place has not, by the place of the one that has them. `key_of`: of what is beside
        another key, which that is."""
        found: dict[str, list[bytes]] = {}
        for key in keys:
            target = self.place_of(key_of(key))
            if target != place:
                found.setdefault(target, []).append(key)
        yield from found.items()

    def held(self, place: str, name: str, fields: Sequence[str | bytes]) -> list[bytes | None]:
        """What a hash of a place says."""
        with translated():
            said: Any = self.client(place).hmget(name, list(fields))
        return list(said)

    def call(self, place: str, name: str, args: Sequence[Any]) -> list[Any]:
        """A function under the lease of a place."""
        for lease in self._leases.values():
            lease.touch()
        return self._leases[place].call(name, [], args)

    def carry(self, place: str, commands: Sequence[Command]) -> None:
        """Commands on records of a place, in one step."""
        if commands:
            self.call(place, "syncd_carry", [part for one in commands for part in (len(one), *one)])

    def foreign(self, place: str) -> None:
        """Keys that were there before the contract."""
        name = self.keys(place).foreign
        for members in self._pages(place, name):
            for target, some in self.elsewhere(place, [one for one in members if one != WHOLE]):
                there = self.keys(target)
                more: list[Command] = [
                    ("SADD", there.foreign, *some, WHOLE),
                    ("HSET", there.position, Fields.NOTED, "1"),
                ]
                self.carry(target, more)
                self.carry(place, [("SREM", name, *some)])

    def stale(self, place: str, shared: Sequence[str], key_of: Callable[[bytes], bytes]) -> None:
        """Keys that show an older state. Documents that are members as they were before, of projections of these
        names, every node knows. `key_of`: see `elsewhere`."""
        name, begins = self.keys(place).stale, tuple(f"{projection} ".encode() for projection in shared)
        for found in self._pages(place, name):
            members = [one for one in found if one.startswith(begins)]
            for target in self.places if members else ():
                self.carry(target, [("SADD", self.keys(target).stale, *members)])
            for target, some in self.elsewhere(
                place, [one for one in found if not one.startswith(begins)], key_of
            ):
                self.carry(target, [("SADD", self.keys(target).stale, *some)])
                self.carry(place, [("SREM", name, *some)])

    def feed(self, one: Named) -> None:
        """What belongs to a stream goes with it."""
        key, field = one.stream, Fields.ENTRY + one.projection
        target = self.place_of(key)
        for place in self.places:
            if place == target:
                continue
            keys, there = self.keys(place), self.keys(target)
            for idents in self._pages(place, keys.matched(key)):
                self.carry(target, [("SADD", there.matched(key), *idents)])
            last, latest = (
                self.held(where, names.position, [field])[0]
                for where, names in ((place, keys), (target, there))
            )
            if last is not None:
                self.carry(
                    target, [("HSET", there.position, field, max(last, latest or b"", key=_as_numbers))]
                )
            self.carry(place, [("HDEL", keys.position, field), ("DEL", keys.matched(key))])

    def _pages(self, place: str, name: str) -> Iterator[list[bytes]]:
        return pages(partial(self.client(place).sscan, name), count=SCAN_COUNT)


def _as_numbers(entry: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in entry.split(b"-") if part)
