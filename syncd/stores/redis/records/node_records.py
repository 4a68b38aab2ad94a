"""The records of a lane in a cluster, when slots have moved: each goes to the node that has its keys now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from syncd.contract.model.template import KeyTemplate
from syncd.plan.claims import Claims
from syncd.stores.redis.cluster import Seen
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys, Position, load_record
from syncd.stores.redis.records.positions import earliest
from syncd.stores.redis.scan import pages
from syncd.stores.redis.store import translated

NODES, MAP = "nodes", "slots"
"""Fields of a position: the places of all nodes when it was last arranged, and the digest of their map."""
WHOLE = b"syncd:"
"""A member of `foreign` that is no key."""
PAGE = 1000

Command: TypeAlias = "tuple[str | bytes, ...]"


class NodeRecords:
    """Of one lane, which holds the lease of the home."""

    def __init__(self, keys: ControlKeys, seen: Seen) -> None:
        nodes, retired, slots = seen.nodes, seen.retired, seen.map
        self._keys, self._nodes, self._map = keys, nodes, slots
        at = {node.place: node for node in nodes} | {place: nodes[slots.node_of(place)] for place in retired}
        self._at, self._leases = at, dict[str, Lease]()
        raw = {place: self._fields(place) for place in at}
        named = [json.loads(said[NODES]) for said in raw.values() if said.get(NODES)]
        known = {place for places in named for place in places}
        self.left = [place for place in retired if place in known or raw[place].get("epoch")]
        """Places with records that no node uses any more."""
        self._known = [place for place in known if place in at]
        self._lost = known - at.keys()
        self._new = [node for node in nodes if known and node.place not in known]
        maps = {raw[node.place].get(MAP) for node in nodes}
        self._is_same = not self._new and not self.left and not self._lost and maps == {slots.digest}
        self.slots_moved = bool(known) and bool(self._new or self.left or maps - {slots.digest, None})
        """Since the records were last arranged."""

    def _fields(self, place: str) -> dict[str, str]:
        names = (NODES, MAP, "epoch")
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
            position = self._position()
            fields = (
                position.encoded() if position.token is not None else ["owned", json.dumps(position.owned)]
            )
            pairs: dict[Any, Any] = dict(zip(fields[::2], fields[1::2], strict=True))
            with translated():
                node.client.hset(self._keys.at(node.place).position, mapping=pairs)

    def arrange(self, leases: Sequence[Lease], claims: Claims, olds: Sequence[Lease]) -> None:
        """Move what belongs to keys, say how far all are, and remember the map."""
        if self._is_same:
            return
        self._leases = {lease.keys.place: lease for lease in (*leases, *olds)}
        position = self._position() if self._known else Position()
        maps = _maps(position, claims)
        for place in self._leases if self._known else ():
            self._move_set(place, "stale")
            self._move_set(place, "foreign")
        for one in maps if self._known else ():
            # What waits for a key that is on its way itself comes with the second round. Two that wait for each other
            # are left to the sweep of the next copy, or to a check.
            for is_last in (False, False, True):
                if not sum(self._move_map(place, one, is_last=is_last) for place in self._leases):
                    break
        if self._known and position.token is None:
            leases[0].forget_position(position.next)
        said: list[Any] = [NODES, json.dumps([node.place for node in self._nodes]), MAP, self._map.digest]
        fields = position.encoded() if position.token is not None else []
        for lease in leases:
            self._carry(lease.keys.place, [("HSET", lease.keys.position, *fields, *said)])
        for lease in olds:
            names = [*self._names(lease.keys, maps), lease.keys.position, lease.keys.lease]
            self._carry(lease.keys.place, [("DEL", name) for name in names])

    def _names(self, keys: ControlKeys, maps: Sequence[tuple[str, str]]) -> Iterator[str]:
        yield from (keys.stale, keys.foreign, keys.text)
        for one in maps:
            yield from (keys.keys_by_id(*one), keys.ids_by_key(*one))

    def _move_set(self, place: str, suffix: str) -> None:
        """Keys in a set: those of another node go there, and only then from here."""
        name = getattr(self._keys.at(place), suffix)
        for members in pages(partial(self._at[place].client.sscan, name), count=PAGE):
            for target, some in self._elsewhere(place, [one for one in members if one != WHOLE]):
                there = self._leases[target].keys
                more: list[Command] = [("SADD", getattr(there, suffix), *some)]
                if suffix == "foreign":
                    more += [("SADD", there.foreign, WHOLE), ("HSET", there.position, "noted", "1")]
                self._carry(target, more)
                self._carry(place, [("SREM", name, *some)])

    def _move_map(self, place: str, one: tuple[str, str], *, is_last: bool) -> int:
        """The same of both maps of a projection whose key is no function of `_id`. Returns how many entries wait."""
        waiting = 0
        keys, client = self._keys.at(place), self._at[place].client
        owners, by_id = keys.ids_by_key(*one), keys.keys_by_id(*one)
        for entries in pages(partial(client.hscan, owners), count=PAGE):
            for target, some in self._elsewhere(place, list(entries)):
                there = self._leases[target].keys
                idents = [entries[key].partition(b" ")[2] for key in some]
                with translated():
                    held: Any = client.hmget(by_id, idents)
                new: list[Any] = [there.keys_by_id(*one), there.ids_by_key(*one)]
                for key, mapped in zip(some, held, strict=True):
                    new += [key, entries[key], "1" if mapped == key and not is_last else ""]
                left = set(self._leases[target].call("syncd_bring", [], new)[1:])
                waiting += len(left)
                moved = [
                    (key, ident if mapped == key else None)
                    for key, ident, mapped in zip(some, idents, held, strict=True)
                    if key not in left
                ]
                old: list[Command] = [("HDEL", owners, key) for key, _ in moved]
                old += [("HDEL", by_id, ident) for _, ident in moved if ident is not None]
                self._carry(place, old)
        if waiting:
            return waiting
        # What is left of them in the map has no owner: another document has the key.
        for found in pages(partial(client.hscan, by_id), count=PAGE):
            of = {key: ident for ident, key in found.items()}
            for _, some in self._elsewhere(place, list(of)):
                self._carry(place, [("HDEL", by_id, *(of[key] for key in some))])
        return 0

    def _elsewhere(self, place: str, keys: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
        """Keys that the node of this place has not, by the place of the one that has them."""
        found: dict[str, list[bytes]] = {}
        for key in keys:
            target = self._nodes[self._map.node_of(key)].place
            if target != place:
                found.setdefault(target, []).append(key)
        yield from found.items()

    def _carry(self, place: str, commands: Sequence[Command]) -> None:
        said = [part for one in commands for part in (len(one), *one)]
        self._leases[place].call("syncd_carry", [], said)


def _maps(position: Position, claims: Claims) -> list[tuple[str, str]]:
    """Projection and template of each map that there may be."""
    named = [(name, text) for name, text, _ in position.owned]
    named += [(one.projection, one.template) for one in claims.claims if one.template is not None]
    return [one for one in dict.fromkeys(named) if not KeyTemplate.recorded(one[1]).by_id]
