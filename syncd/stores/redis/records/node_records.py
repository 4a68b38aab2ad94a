"""The records of a contract in a cluster, when slots have moved: each goes to the node that has its keys now.

Of several partitions one lane arranges all, and the others have no lease meanwhile: maps, stale and foreign keys are
the contract's, and what one moves the others must not write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any

from bson import json_util

from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.claims import KEYSPACE, Claims
from syncd.plan.to_mongo.state import key_of_member
from syncd.stores.redis.cluster.nodes import Seen
from syncd.stores.redis.records.keys.moved_digests import MovedDigests
from syncd.stores.redis.records.keys.moved_elements import MovedElements
from syncd.stores.redis.records.keys.moved_keys import MovedKeys
from syncd.stores.redis.records.keys.moved_members import MovedMembers
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.levels import LEVEL, REPLAYED
from syncd.stores.redis.records.moved_records import Kind, Moved, Named
from syncd.stores.redis.records.position import (
    DIGEST,
    SWEEP,
    ControlKeys,
    Fields,
    Position,
    load_record,
    read_fields,
)
from syncd.stores.redis.records.positions import earliest
from syncd.stores.redis.store import translated

NODES, MAP = "nodes", "slots"
"""Fields of `arranged`: the places of all nodes when the records were last arranged, and the digest of their map."""
MOVER = "mover"
"""Field of a layout: the lane that arranges records, see lua/nodes.lua."""
EPOCH = "epoch"


class NodeRecords:
    """Of one contract. The lane that uses it holds the lease of the home."""

    def __init__(self, keys: ControlKeys, seen: Seen) -> None:
        nodes, retired, slots = seen.nodes, seen.retired, seen.map
        self._keys, self._nodes, self._map = keys, nodes, slots
        self._parts = [replace(keys, partition=one) for one in keys.partition.all]
        self._at = {node.place: node for node in nodes} | {
            place: nodes[slots.node_of(place)] for place in retired
        }
        said = {place: self._arranged(place) for place in self._at}
        known = {place for one in said.values() for place in json.loads(one.get(NODES, "[]"))}
        in_use = [place for place in retired if place in known or self._any(place, EPOCH)]
        if not known and any(self._any(place, Fields.TOKEN) for place in self._at):
            known = {*(node.place for node in nodes), *in_use}  # what said it was evicted, or deleted
        self.left = in_use
        """Places with records that no node uses any more."""
        self._known = [place for place in known if place in self._at]
        self._lost = known - self._at.keys()
        self._new = [node for node in nodes if known and node.place not in known]
        self._were_arranged = [place for place in self._known if NODES in said[place]]
        maps = {said[node.place].get(MAP) for node in nodes}
        self.are_arranged = not self._new and not self.left and not self._lost and maps == {slots.digest}
        self.slots_moved = bool(known) and bool(self._new or self.left or maps - {slots.digest, None})
        """Since the records were last arranged."""

    def _arranged(self, place: str) -> dict[str, str]:
        with translated():
            said: Any = self._at[place].client.hgetall(self._keys.at(place).arranged)
        return {name.decode(): text.decode() for name, text in said.items()}

    def _any(self, place: str, field: str) -> bool:
        """Whether a partition has this there."""
        return any(self._field(part, place, field) for part in self._parts)

    def _field(self, part: ControlKeys, place: str, field: str) -> str:
        return read_fields(self._at[place], part.at(place), field)[0]

    def _positions(self) -> dict[ControlKeys, Position]:
        """Of each partition that has begun: as far as all nodes are that had records. One of which even the place is
        unknown has lost them."""
        found = {}
        for part in self._parts if self._known else ():
            if part == self._keys or any(self._field(part, place, EPOCH) for place in self._at):
                records = [load_record(self._at[place], part.at(place)) for place in self._known]
                found[part] = earliest([*records, *(Position() for _ in self._lost)])
        return found

    def seed(self) -> None:
        """A node that is new begins as far as all are. Its keys came from others, so none is an application's."""
        if not self._new:
            return
        with translated():
            layout: Any = self._nodes[0].client.hgetall(self._keys.layout)
        layout.pop(MOVER.encode(), None)
        for node in self._new:
            keys = self._keys.at(node.place)
            with translated():
                if layout:
                    node.client.hset(keys.layout, mapping=layout)
                for part, position in self._positions().items():
                    fields = _fields_of(position) + (["layout", layout[b"now"]] if layout else [])
                    pairs: dict[Any, Any] = dict(zip(fields[::2], fields[1::2], strict=True))
                    node.client.hset(part.at(node.place).position, mapping=pairs)

    def arrange(self, leases: Sequence[Lease], claims: Claims, olds: Sequence[Lease]) -> None:
        """Move what belongs to keys, say how far all are, and remember the map. No other lane has a lease."""
        moved = Moved(self._map, self._nodes, self._at, {one.keys.place: one for one in (*leases, *olds)})
        if claims.kind == KEYSPACE:
            digests = MovedDigests(self._keys.contract, self._nodes, moved, self._known)
            digests.move(is_same=self.are_arranged)
        if self.are_arranged:
            return
        positions = self._positions()
        named = _named(positions.values(), claims)
        if self._known:
            self._move(moved, named, _key_of(named, claims))
        for part, position in positions.items():
            if position.token is None:
                self._lose(moved, leases[0], part, position)
            self._tell(moved, leases, part, position)
        said = [NODES, json.dumps([node.place for node in self._nodes]), MAP, self._map.digest]
        for lease in leases:
            moved.carry(lease.keys.place, [("HSET", lease.keys.arranged, *said)])
        for lease in olds:
            moved.carry(lease.keys.place, [("DEL", name) for name in _names(lease.keys, named)])

    def _lose(self, moved: Moved, home: Lease, part: ControlKeys, position: Position) -> None:
        """What a place says that goes must be said by one that stays."""
        if part == self._keys:
            home.forget_position(position.next, resumes=position.resume is not None)
            return
        then = SWEEP if position.next == DIGEST else position.next
        resume = "" if position.resume is None else json_util.dumps(position.resume)
        commands: list[tuple[str | bytes, ...]] = [
            ("HDEL", part.position, Fields.TOKEN, Fields.PHASE),
            ("HSET", part.position, "next", then, "resume", resume),
        ]
        moved.carry(part.place, commands)

    def _tell(self, moved: Moved, leases: Sequence[Lease], part: ControlKeys, position: Position) -> None:
        """All nodes how far a partition is."""
        said = position.encoded() if position.token is not None else []
        said += [LEVEL, ""]  # what is at a place now may have come from one that lost writes
        # A new node has no word before it is arranged, also where that was broken off.
        words = {self._field(part, place, REPLAYED) for place in self._were_arranged}
        if len(words) == 1:
            said += [REPLAYED, *words]
        for lease in leases:
            place = lease.keys.place
            moved.carry(place, [("HSET", part.at(place).position, *said)])
        if len(words) > 1:
            moved.carry(part.place, [("HSET", part.position, REPLAYED, token_hex(4))])

    def _move(self, moved: Moved, named: Sequence[Named], key_of: Callable[[bytes], bytes]) -> None:
        shared = [one.projection for one in named if one.kind is Kind.MEMBERS]
        for place in moved.places:
            moved.stale(place, shared, key_of)
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


def _key_of(named: Sequence[Named], claims: Claims) -> Callable[[bytes], bytes]:
    """Of samples that go to MongoDB their series, beside which is noted what has a dead letter."""
    series = [one for one in named if one.is_series] if claims.kind == KEYSPACE else []
    return partial(key_of_member, KeyTemplate.recorded(series[0].template)) if series else bytes


def _fields_of(position: Position) -> list[str | bytes]:
    """Of a node that begins as far as all are."""
    if position.resume is not None:
        return [*position.encoded(), "resume", json_util.dumps(position.resume)]
    return position.encoded() if position.token is not None else ["owned", json.dumps(position.owned)]


def _names(keys: ControlKeys, named: Sequence[Named]) -> Iterator[str]:
    """All records of a place, those by which its lease is known last."""
    yield from (keys.stale, keys.foreign, keys.text, keys.edits, keys.short, keys.synced, keys.arranged)
    for one in named:
        of = one.projection, one.template
        if one.kind is Kind.MEMBERS:
            yield from (keys.members(*of), keys.deadlines(*of))
        elif one.kind is Kind.FEED:
            yield keys.matched(one.stream)
        else:
            yield from (keys.keys_by_id(*of), keys.ids_by_key(*of))
    for part in (replace(keys, partition=one) for one in keys.partition.all):
        yield from (part.position, part.lease)
    yield keys.layout


def _named(positions: Iterable[Position], claims: Claims) -> list[Named]:
    """Each projection of which there may be records beside its keys."""
    said = [Named(*entry) for position in positions for entry in position.owned]
    said += [
        Named(one.projection, one.template, one.type) for one in claims.claims if one.template is not None
    ]
    return [one for one in dict.fromkeys(said) if one.kind is not None]
