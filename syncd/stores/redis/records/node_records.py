"""The records of a lane in a cluster, when slots have moved: each goes to the node that has its keys now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from secrets import token_hex
from typing import Any

from bson import json_util

from syncd.plan.claims import KEYSPACE, Claims
from syncd.stores.redis.cluster.nodes import Seen
from syncd.stores.redis.records.keys.moved_digests import MovedDigests
from syncd.stores.redis.records.keys.moved_elements import MovedElements
from syncd.stores.redis.records.keys.moved_keys import MovedKeys
from syncd.stores.redis.records.keys.moved_members import MovedMembers
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.levels import LEVEL, REPLAYED
from syncd.stores.redis.records.moved_records import Kind, Moved, Named
from syncd.stores.redis.records.position import ControlKeys, Position, load_record
from syncd.stores.redis.records.positions import earliest
from syncd.stores.redis.store import translated

NODES, MAP = "nodes", "slots"
"""Fields of a position: the places of all nodes when it was last arranged, and the digest of their map."""


class NodeRecords:
    """Of one lane, which holds the lease of the home."""

    def __init__(self, keys: ControlKeys, seen: Seen) -> None:
        nodes, retired, slots = seen.nodes, seen.retired, seen.map
        self._keys, self._nodes, self._map = keys, nodes, slots
        self._at = {node.place: node for node in nodes} | {
            place: nodes[slots.node_of(place)] for place in retired
        }
        raw = {place: self._fields(place) for place in self._at}
        named = [json.loads(said[NODES]) for said in raw.values() if said.get(NODES)]
        known = {place for places in named for place in places}
        self.left = [place for place in retired if place in known or raw[place].get("epoch")]
        """Places with records that no node uses any more."""
        self._known = [place for place in known if place in self._at]
        self._lost = known - self._at.keys()
        self._new = [node for node in nodes if known and node.place not in known]
        # A new node has no word before it is arranged, also where that was broken off.
        self._replayed = {raw[place].get(REPLAYED, "") for place in self._known if raw[place].get(NODES)}
        maps = {raw[node.place].get(MAP) for node in nodes}
        self._is_same = not self._new and not self.left and not self._lost and maps == {slots.digest}
        self.slots_moved = bool(known) and bool(self._new or self.left or maps - {slots.digest, None})
        """Since the records were last arranged."""

    def _fields(self, place: str) -> dict[str, str]:
        names = (NODES, MAP, "epoch", REPLAYED)
        with translated():
            said: Any = self._at[place].client.hmget(self._keys.at(place).position, names)
        return {name: text.decode() for name, text in zip(names, said, strict=True) if text}

    def _position(self) -> Position:
        """As far as all are that had records. One of which even the place is unknown has lost them."""
        parts = [load_record(self._at[place], self._keys.at(place)) for place in self._known]
        return earliest([*parts, *(Position() for _ in self._lost)])

    def seed(self) -> None:
        """A node that is new begins as far as all are. Its keys came from others, so none is an application's."""
        for node in self._new:
            fields = _fields_of(self._position())
            pairs: dict[Any, Any] = dict(zip(fields[::2], fields[1::2], strict=True))
            with translated():
                node.client.hset(self._keys.at(node.place).position, mapping=pairs)

    def arrange(self, leases: Sequence[Lease], claims: Claims, olds: Sequence[Lease]) -> None:
        """Move what belongs to keys, say how far all are, and remember the map."""
        moved = Moved(self._map, self._nodes, self._at, {one.keys.place: one for one in (*leases, *olds)})
        if claims.kind == KEYSPACE:
            digests = MovedDigests(self._keys.contract, self._nodes, moved, self._known)
            digests.move(is_same=self._is_same)
        if self._is_same:
            return
        position = self._position() if self._known else Position()
        named = _named(position, claims)
        if self._known:
            self._move(moved, named)
        if self._known and position.token is None:
            leases[0].forget_position(position.next, resumes=position.resume is not None)
        said: list[Any] = [NODES, json.dumps([node.place for node in self._nodes]), MAP, self._map.digest]
        said += [LEVEL, ""]  # what is at a place now may have come from one that lost writes
        fields = position.encoded() if position.token is not None else []
        if len(self._replayed) == 1:
            said += [REPLAYED, *self._replayed]
        for lease in leases:
            moved.carry(lease.keys.place, [("HSET", lease.keys.position, *fields, *said)])
        if len(self._replayed) > 1:
            moved.carry(leases[0].keys.place, [("HSET", leases[0].keys.position, REPLAYED, token_hex(4))])
        for lease in olds:
            names = [*_names(lease.keys, named), lease.keys.position, lease.keys.lease]
            moved.carry(lease.keys.place, [("DEL", name) for name in names])

    def _move(self, moved: Moved, named: Sequence[Named]) -> None:
        shared = [one.projection for one in named if one.kind is Kind.MEMBERS]
        for place in moved.places:
            moved.stale(place, shared)
            moved.foreign(place)
        keys, elements = MovedKeys(moved), MovedElements(moved)
        members = MovedMembers(moved, self._known)
        for one in named:
            match one.kind:
                case Kind.KEYS:
                    keys.move(one)
                case Kind.ELEMENTS:
                    elements.move(one)
                case Kind.MEMBERS:
                    members.move(one)
                case Kind.FEED:
                    moved.feed(one)


def _fields_of(position: Position) -> list[str | bytes]:
    """Of a node that begins as far as all are."""
    if position.resume is not None:
        return [*position.encoded(), "resume", json_util.dumps(position.resume)]
    return position.encoded() if position.token is not None else ["owned", json.dumps(position.owned)]


def _names(keys: ControlKeys, named: Sequence[Named]) -> Iterator[str]:
    yield from (keys.stale, keys.foreign, keys.text, keys.edits, keys.short, keys.synced)
    for one in named:
        of = one.projection, one.template
        if one.kind is Kind.MEMBERS:
            yield from (keys.members(*of), keys.deadlines(*of))
        elif one.kind is Kind.FEED:
            yield keys.matched(one.stream)
        else:
            yield from (keys.keys_by_id(*of), keys.ids_by_key(*of))


def _named(position: Position, claims: Claims) -> list[Named]:
    """Each projection of which there may be records beside its keys."""
    said = [Named(*entry) for entry in position.owned]
    said += [
        Named(one.projection, one.template, one.type) for one in claims.claims if one.template is not None
    ]
    return [one for one in dict.fromkeys(said) if one.kind is not None]
